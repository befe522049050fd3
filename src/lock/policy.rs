//! The policies that are evaluated on the stored value, and the reasons why a new grant is refused.
//!
//! Policies only refuse new grants (invariant 12): a holder that asks again and a release never get here.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::names::GroupName;
use super::semaphore::Semaphore;
use super::state::GroupState;

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

/// The reason why a node is not granted a lock, in the order in which a node is told: the most lasting one first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The group is paused: it has no slots.
    #[error("the group is paused")]
    Paused,
    /// A holder has held for too long.
    #[error("the group is stalled: {:?} has held its slot for too long", .0.id)]
    Stalled(Stalled),
    /// A reboot window, a freeze, or a reservation refuses new grants.
    #[error("no lock is granted at this time")]
    Closed,
    /// A gate is closed.
    #[error("a gate is closed")]
    GateClosed,
    /// A cap is reached.
    #[error(transparent)]
    CapReached(CapReached),
    /// A cap cannot be evaluated, because the stored value of this group cannot be used.
    #[error(
        "the cap {cap:?} cannot be evaluated, because the value of the group {group} cannot be used"
    )]
    CapUnusable {
        /// The name of the cap.
        cap: Arc<str>,
        /// The group.
        group: GroupName,
    },
    /// Every slot is held.
    #[error("{}", full_text(*.slots))]
    Full {
        /// The number of slots.
        slots: u64,
    },
    /// The last release is too recent.
    #[error("the group settles until {until}")]
    Settling {
        /// The time at which the next lock can be granted.
        until: Timestamp,
    },
    /// The gates have to be asked first.
    #[error("the gates were not asked")]
    GateUnasked,
}

/// A holder that has held for too long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stalled {
    /// The holder.
    pub id: Arc<str>,
    /// The time since which it is known to hold.
    pub since: Timestamp,
    /// Whether that is the time of the grant; otherwise this server first saw the holder then.
    pub is_exact: bool,
}

/// A cap that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[error("the cap {cap:?} is reached: {limit}")]
pub struct CapReached {
    /// The name of the cap.
    pub cap: Arc<str>,
    /// The limit.
    pub limit: CapLimit,
}

/// The limit of a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CapLimit {
    /// The maximum number of holders in all groups together.
    Held(u64),
    /// The maximum number of groups with holders.
    Groups(u64),
}

fn full_text(slots: u64) -> String {
    match slots {
        1 => "the only slot is held".into(),
        slots => format!("all {slots} slots are held"),
    }
}

/// The evaluation of the commands of one commit, in order.
#[derive(Debug)]
pub struct Evaluation<'a> {
    conditions: &'a Conditions,
    /// The number of grants so far.
    granted: u64,
    /// The holder that has held for longest, until the holders change.
    oldest: OnceCell<Option<Stalled>>,
}

/// A check for one reason to refuse a grant.
type Check = fn(&Evaluation<'_>, &Semaphore, Timestamp, Terms) -> Option<Refusal>;

/// All checks, in the order of [`Refusal`].
const CHECKS: [Check; 8] = [
    |_, semaphore, _, _| semaphore.is_paused().then_some(Refusal::Paused),
    |evaluation, semaphore, at, _| evaluation.stalled(semaphore, at),
    |_, semaphore, at, terms| {
        (terms.closed && !semaphore.is_overridden(at)).then_some(Refusal::Closed)
    },
    |_, semaphore, at, terms| {
        let is_closed = terms.gates == Gates::Closed && !semaphore.is_overridden(at);
        is_closed.then_some(Refusal::GateClosed)
    },
    |evaluation, semaphore, _, _| evaluation.cap_reached(semaphore),
    |_, semaphore, _, _| {
        let slots = semaphore.slots;
        (semaphore.free() == 0).then_some(Refusal::Full { slots })
    },
    |evaluation, semaphore, at, _| evaluation.settling(semaphore, at),
    |evaluation, semaphore, at, terms| evaluation.gate_unasked(semaphore, at, terms),
];

// === impl Evaluation ===

impl<'a> Evaluation<'a> {
    /// Starts the evaluation of the commands of one commit.
    pub fn new(conditions: &'a Conditions) -> Self {
        Evaluation {
            conditions,
            granted: 0,
            oldest: OnceCell::new(),
        }
    }

    /// Returns the reasons why `semaphore` grants no new lock to a request of that time, the one that a node is told first.
    pub fn refusals(
        &self,
        semaphore: &Semaphore,
        at: Timestamp,
        terms: Terms,
    ) -> impl Iterator<Item = Refusal> {
        CHECKS
            .iter()
            .filter_map(move |check| check(self, semaphore, at, terms))
    }

    /// Records that a lock was granted.
    pub(super) fn granted(&mut self) {
        self.granted += 1;
    }

    /// Records that a node was released.
    pub(super) fn released(&mut self) {
        self.oldest.take();
    }

    fn stalled(&self, semaphore: &Semaphore, at: Timestamp) -> Option<Refusal> {
        let stall = self.conditions.stall.as_ref()?;
        let oldest = self.oldest.get_or_init(|| stall.oldest(semaphore));
        let oldest = oldest.as_ref()?;
        let is_stalled = at.duration_since(oldest.since) > stall.after;
        is_stalled.then(|| Refusal::Stalled(oldest.clone()))
    }

    fn settling(&self, semaphore: &Semaphore, at: Timestamp) -> Option<Refusal> {
        let settle = self.conditions.settle?;
        let until = semaphore.released_at?.checked_add(settle);
        let until = until.unwrap_or(Timestamp::MAX);
        (until > at).then_some(Refusal::Settling { until })
    }

    fn cap_reached(&self, semaphore: &Semaphore) -> Option<Refusal> {
        let mut caps = self.conditions.caps.iter();
        caps.find_map(|cap| cap.refusal(semaphore.holders.len() as u64))
    }

    fn gate_unasked(&self, semaphore: &Semaphore, at: Timestamp, terms: Terms) -> Option<Refusal> {
        let is_unasked = match terms.gates {
            Gates::None | Gates::Closed => false,
            Gates::Unasked => true,
            Gates::Allow(grants) => self.granted >= grants,
        };
        (is_unasked && !semaphore.is_overridden(at)).then_some(Refusal::GateUnasked)
    }
}

// === impl CapLimit ===

impl fmt::Display for CapLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapLimit::Held(1) => f.write_str("only 1 node of its groups may hold a slot at a time"),
            CapLimit::Held(max) => {
                write!(
                    f,
                    "only {max} nodes of its groups may hold a slot at a time"
                )
            }
            CapLimit::Groups(1) => f.write_str("only 1 of its groups may have holders at a time"),
            CapLimit::Groups(max) => {
                write!(f, "only {max} of its groups may have holders at a time")
            }
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// Reports whether the refusal depends on the other groups of a cap.
    pub(crate) fn depends_on_members(&self) -> bool {
        matches!(self, Refusal::CapReached(_) | Refusal::CapUnusable { .. })
    }

    /// Reports whether the grants that precede the request in the same commit can be the reason.
    pub(super) fn depends_on_grants(&self) -> bool {
        match self {
            Refusal::Full { .. } | Refusal::CapReached(_) | Refusal::GateUnasked => true,
            Refusal::Paused
            | Refusal::Stalled(_)
            | Refusal::Closed
            | Refusal::GateClosed
            | Refusal::CapUnusable { .. }
            | Refusal::Settling { .. } => false,
        }
    }
}

// === impl Stall ===

impl Stall {
    /// Returns the holder that has held for longest.
    fn oldest(&self, semaphore: &Semaphore) -> Option<Stalled> {
        let holds = semaphore.holders.iter().filter_map(|(id, hold)| {
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
    /// Returns the cap with the state of the other groups. It is unusable if one of them has no known state.
    pub(crate) fn view<'a>(&self, state: impl Fn(&GroupName) -> Option<&'a GroupState>) -> CapView {
        let mut view = CapView {
            name: Arc::clone(&self.name),
            max_held: self.max_held,
            max_groups: self.max_groups,
            held_elsewhere: 0,
            groups_elsewhere: 0,
            unusable: None,
        };
        for group in &self.others {
            match state(group).map(|state| &state.semaphore) {
                Some(Ok(semaphore)) => {
                    view.held_elsewhere += semaphore.holders.len() as u64;
                    view.groups_elsewhere += u64::from(!semaphore.holders.is_empty());
                }
                Some(Err(_)) | None => view.unusable = Some(group.clone()),
            }
        }
        view
    }
}

// === impl CapView ===

impl CapView {
    /// Returns the reason why the cap refuses a grant in a group with `held` holders.
    fn refusal(&self, held: u64) -> Option<Refusal> {
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
        let max_groups = self
            .max_groups
            .filter(|max| held == 0 && self.groups_elsewhere >= *max);
        let held = max_held.map(CapLimit::Held);
        let limit = held.or(max_groups.map(CapLimit::Groups))?;
        Some(Refusal::CapReached(CapReached {
            cap: Arc::clone(&self.name),
            limit,
        }))
    }
}

#[cfg(test)]
mod tests;
