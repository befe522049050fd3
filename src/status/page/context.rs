//! What the parts of the page share.

use std::path::Path;

use super::parts::count;
use crate::status::view::{Condition, GroupView, MAX_LISTED, StatusView};

/// The maximum number of waiting nodes that the page lists, and the number that it lists for each group in any case.
const MAX_WAITING: usize = 6_000;
const MIN_LISTED: usize = 10;

/// What the parts of the page share.
pub(super) struct Page<'a> {
    pub(super) view: &'a StatusView,
    /// All groups, those that need attention first, by condition and name.
    pub(super) groups: Vec<&'a GroupView>,
    /// The configuration file that the commands on the page use.
    pub(super) config: &'a Path,
    /// The maximum number of waiting nodes that are listed for each group.
    pub(super) max_waiting: usize,
}

// === impl Page ===

impl<'a> Page<'a> {
    pub(super) fn new(view: &'a StatusView, config: &'a Path) -> Self {
        let mut groups: Vec<&GroupView> = view.groups.iter().collect();
        groups.sort_by_key(|group| (!group.needs_attention, group.state, &group.name));
        let with_waiting = groups.iter().filter(|group| group.waiting_nodes() > 0);
        let max_waiting = MAX_WAITING / with_waiting.count().max(1);
        Page {
            view,
            groups,
            config,
            max_waiting: max_waiting.clamp(MIN_LISTED, MAX_LISTED),
        }
    }

    /// Returns a sentence about all groups.
    pub(super) fn summary(&self) -> String {
        let locks = || self.groups.iter().filter_map(|group| group.lock.as_ref());
        let held = locks().map(|lock| lock.held).sum();
        let held = match locks().count() == self.groups.len() {
            true => count(held, "slot", "held"),
            false => count(held, "slot", "known to be held"),
        };
        let waiting = self.groups.iter().map(|group| group.waiting_nodes()).sum();
        let may_be_more = self
            .groups
            .iter()
            .any(|group| group.more_may_wait || group.waiting_count.is_none());
        let waiting = match (waiting, may_be_more) {
            (0, true) => "waiting nodes not known yet".to_owned(),
            (waiting, true) => format!("at least {}", count(waiting, "node", "waiting")),
            (waiting, false) => count(waiting, "node", "waiting"),
        };
        let unknown = |state| {
            let groups = self.groups.iter().filter(|group| group.state == state);
            groups.count()
        };
        let damaged = match unknown(Condition::Damaged) {
            0 => String::new(),
            1 => " The holders of 1 group are unknown, because its stored value is damaged.".into(),
            damaged => format!(
                " The holders of {damaged} groups are unknown, because their stored values are damaged."
            ),
        };
        let unknown = match unknown(Condition::Unknown) {
            0 => String::new(),
            1 => " The state of 1 group is not known yet.".into(),
            unknown => format!(" The state of {unknown} groups is not known yet."),
        };
        format!("{held}, {waiting}.{damaged}{unknown}")
    }
}
