//! The policies of a group that are evaluated in its commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::cache::Cache;
use crate::lock::policy::{Cap, Conditions, Stall};
use crate::lock::{GroupName, GroupState};

/// The known states of the other groups of the caps.
pub(crate) type Others = BTreeMap<GroupName, GroupState>;

/// The policies of one group, as configured.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    /// While a holder has held for longer, no node is granted a lock.
    pub(crate) stall_after: Option<SignedDuration>,
    /// The time that has to pass after a release.
    pub(crate) settle: Option<SignedDuration>,
    /// The caps to which the group belongs.
    pub(crate) caps: Vec<Cap>,
    /// Whether the group has gates.
    pub(crate) has_gates: bool,
    /// The other groups of these caps.
    pub(crate) others: BTreeMap<GroupName, OtherGroup>,
}

/// The known state of another group.
#[derive(Clone)]
pub(crate) struct OtherGroup(pub(super) Arc<Cache>);

// === impl Policies ===

impl Policies {
    /// Returns what is known about the other groups of the caps.
    pub(super) fn others(&self) -> BTreeMap<GroupName, Option<GroupState>> {
        let others = self.others.iter();
        others
            .map(|(name, other)| (name.clone(), other.0.get()))
            .collect()
    }

    /// Returns the conditions of a commit, if the other groups are in these states.
    pub(super) fn conditions(&self, own: &Cache, others: &Others) -> Conditions {
        Conditions {
            stall: self.stall_after.map(|after| Stall {
                after,
                first_seen: own.first_seen(),
            }),
            settle: self.settle,
            caps: self
                .caps
                .iter()
                .map(|cap| cap.view(|group| others.get(group)?.held()))
                .collect(),
        }
    }
}
