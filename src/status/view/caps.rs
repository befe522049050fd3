//! The view of the caps: the limits that several groups share.

use serde::Serialize;

use crate::config::CapSettings;
use crate::lock::{GroupName, GroupState};
use crate::text::escape::shortened;

/// The number of groups that are named, and the maximum number of characters of each name.
const NAMED: usize = 3;
const MAX_NAME: usize = 64;

/// The view of a cap.
#[derive(Debug, Serialize)]
pub(crate) struct CapUsage {
    pub(crate) name: String,
    /// The maximum number of slots that nodes of its groups may hold.
    pub(crate) max_held: Option<u64>,
    /// The maximum number of its groups that may have holders.
    pub(crate) max_groups: Option<u64>,
    /// The number of slots that are held in all groups; `None`: the state of a group is not known.
    pub(crate) held: Option<u64>,
    /// The number of groups with holders; `None`: the state of a group is not known.
    pub(crate) held_groups: Option<u64>,
    /// Its groups, sorted.
    pub(crate) groups: Vec<GroupUsage>,
}

/// The view of a group of a cap.
#[derive(Debug, Serialize)]
pub(crate) struct GroupUsage {
    pub(crate) name: String,
    /// The number of slots that are held; `None`: not known.
    pub(crate) held: Option<u64>,
}

// === impl CapUsage ===

impl CapUsage {
    /// Returns the view of a cap whose groups are in these states.
    pub(super) fn new<'s>(
        cap: &CapSettings,
        state: impl Fn(&GroupName) -> Option<&'s GroupState>,
    ) -> Self {
        let group = |name: &GroupName| {
            let semaphore = state(name).and_then(|state| state.semaphore.as_ref().ok());
            GroupUsage {
                name: name.to_string(),
                held: semaphore.map(|semaphore| semaphore.holders.len() as u64),
            }
        };
        let groups: Vec<GroupUsage> = cap.groups.iter().map(group).collect();
        let held: Option<Vec<u64>> = groups.iter().map(|group| group.held).collect();
        let with_holders = |held: &Vec<u64>| held.iter().filter(|held| **held > 0).count() as u64;
        CapUsage {
            name: cap.name.to_string(),
            max_held: cap.max_held,
            max_groups: cap.max_groups,
            held: held.as_ref().map(|held| held.iter().sum()),
            held_groups: held.as_ref().map(with_holders),
            groups,
        }
    }

    /// Describes how much of the cap is in use, for example `1 of at most 1 group with holders (zone-a)`.
    pub(crate) fn usage(&self) -> String {
        let number = |number: Option<u64>| number.map_or("?".into(), |number| number.to_string());
        let mut limits = Vec::new();
        if let Some(max) = self.max_held {
            let slots = if max == 1 { "slot" } else { "slots" };
            limits.push(format!("{} of {max} {slots} held", number(self.held)));
        }
        if let Some(max) = self.max_groups {
            let groups = if max == 1 { "group" } else { "groups" };
            limits.push(format!(
                "{} of at most {max} {groups} with holders",
                number(self.held_groups)
            ));
        }
        let with_holders = || {
            let groups = self.groups.iter();
            groups.filter(|group| group.held.is_some_and(|held| held > 0))
        };
        let names = with_holders().take(NAMED);
        let names: Vec<_> = names
            .map(|group| shortened(&group.name, MAX_NAME))
            .collect();
        let more = match with_holders().count().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match names.is_empty() {
            true => limits.join(", "),
            false => format!("{} ({}{more})", limits.join(", "), names.join(", ")),
        }
    }

    /// Reports whether a group belongs to the cap.
    pub(crate) fn includes(&self, group: &str) -> bool {
        let groups = &self.groups;
        groups
            .binary_search_by(|member| member.name.as_str().cmp(group))
            .is_ok()
    }
}
