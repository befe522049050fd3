//! What new grants depend on.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::refusal::{CapLimit, CapReached, Refusal, Stalled};
use crate::lock::holders::Holders;
use crate::lock::names::GroupName;

/// What the grants of one commit depend on besides the semaphore and the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// While a holder has held for long, no node is granted a lock.
    pub stall: Option<Stall>,
    /// The time that has to pass after a release.
    pub settle: Option<SignedDuration>,
    /// The caps to which the group belongs.
    pub caps: Vec<CapView>,
}

/// The maximum duration of a hold, beyond which the group is stalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The maximum duration.
    pub after: SignedDuration,
    /// The times at which this server first saw the holders whose time of grant is unknown.
    pub first_seen: Arc<BTreeMap<Arc<str>, Timestamp>>,
}

/// A cap across groups, for one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// The name.
    pub name: Arc<str>,
    /// The maximum number of holders in all groups together.
    pub max_held: Option<u64>,
    /// The maximum number of groups with holders.
    pub max_groups: Option<u64>,
    /// The other groups.
    pub others: Vec<GroupName>,
}

/// A cap as it applies to one of its groups, with the state of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapView {
    /// The name.
    pub name: Arc<str>,
    /// The maximum number of holders in all groups together.
    pub max_held: Option<u64>,
    /// The maximum number of groups with holders.
    pub max_groups: Option<u64>,
    /// The number of holders in the other groups.
    pub held_elsewhere: u64,
    /// The number of other groups with holders.
    pub groups_elsewhere: u64,
    /// Another group whose stored value cannot be used or is not known, so that the cap cannot be evaluated.
    pub unusable: Option<GroupName>,
}

/// The part of a semaphore on which new grants depend.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The number of slots.
    pub slots: u64,
    /// The holders.
    pub holders: &'a Holders,
    /// The time of the latest release by a node.
    pub released_at: Option<Timestamp>,
    /// The end of an override.
    pub override_until: Option<Timestamp>,
}

/// The policies of the server that apply to one request, as the server found them before the commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// A reboot window, a freeze, or a reservation refuses new grants. An override ends that.
    pub closed: bool,
    /// What the gates say. An override makes it irrelevant.
    pub gates: Gates,
}

/// What the gates of a group say about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gates {
    /// The group has no gates.
    #[default]
    None,
    /// They were not asked for this request, or too long ago.
    Unasked,
    /// One of them is closed.
    Closed,
    /// All of them are open, and their answers allow this many new grants in one commit.
    Allow(u64),
}

// === impl Facts ===

impl Facts<'_> {
    /// Returns the number of free slots.
    pub fn free(self) -> u64 {
        self.slots.saturating_sub(self.holders.len() as u64)
    }

    /// Reports whether an administrator has overridden reboot windows, freezes and gates at that time.
    pub fn is_overridden(self, at: Timestamp) -> bool {
        self.override_until.is_some_and(|until| at < until)
    }
}

// === impl Stall ===

impl Stall {
    /// Returns the holder that has held for longest.
    pub(super) fn oldest(&self, holders: &Holders) -> Option<Stalled> {
        let holds = holders.iter().filter_map(|(id, hold)| {
            let since = hold.since.or_else(|| self.first_seen.get(id).copied())?;
            Some((since, id, hold.since.is_some()))
        });
        let (since, id, is_exact) = holds.min()?;
        Some(Stalled {
            id: Arc::clone(id),
            since,
            is_exact,
        })
    }
}

// === impl Cap ===

impl Cap {
    /// Returns the cap with the state of the other groups, of which `held` returns the number of holders. It is unusable
    /// if that is not known for one of them.
    pub(crate) fn view(&self, held: impl Fn(&GroupName) -> Option<u64>) -> CapView {
        let mut view = CapView {
            name: Arc::clone(&self.name),
            max_held: self.max_held,
            max_groups: self.max_groups,
            held_elsewhere: 0,
            groups_elsewhere: 0,
            unusable: None,
        };
        for group in &self.others {
            match held(group) {
                Some(held) => {
                    view.held_elsewhere += held;
                    view.groups_elsewhere += u64::from(held > 0);
                }
                None => view.unusable = Some(group.clone()),
            }
        }
        view
    }
}

// === impl CapView ===

impl CapView {
    /// Returns the reason why the cap refuses a grant in a group with `held` holders.
    pub(super) fn refusal(&self, held: u64) -> Option<Refusal> {
        if let Some(group) = &self.unusable {
            return Some(Refusal::CapUnusable {
                cap: Arc::clone(&self.name),
                group: group.clone(),
            });
        }
        // Invariant 13: together with the comparison of all groups in the commit.
        let max_held = self
            .max_held
            .filter(|max| self.held_elsewhere + held >= *max);
        let max_groups = self.max_groups.filter(|max| self.groups_elsewhere >= *max);
        let held = max_held.map(CapLimit::Held);
        let limit = held.or(max_groups.map(CapLimit::Groups))?;
        Some(Refusal::CapReached(CapReached {
            cap: Arc::clone(&self.name),
            limit,
        }))
    }
}
