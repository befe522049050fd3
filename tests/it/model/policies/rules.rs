//! The policies as the properties understand them, apart from the code that decides.

use std::sync::Arc;

use airlock::lock::policy::{CapView, Conditions, Stall};
use jiff::SignedDuration;

use super::state::{Facts, Group, Reason, Reasons};
use super::value::{NODES, NOW, Tick, Value};

/// The policies of both groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policies {
    pub(super) max_held: Option<u64>,
    pub(super) max_groups: Option<u64>,
    /// The maximum duration of a hold, beyond which the group is stalled.
    pub(super) stall: Option<Tick>,
    /// The time that has to pass after a release.
    pub(super) settle: Option<Tick>,
}

impl Policies {
    /// The conditions that a server passes on, if the other group has this value.
    pub(super) fn conditions(&self, other: Value) -> Conditions {
        let seconds = |tick: Tick| SignedDuration::from_secs(tick.into());
        Conditions {
            stall: self.stall.map(|after| Stall {
                after: seconds(after),
                first_seen: Arc::default(),
            }),
            settle: self.settle.map(seconds),
            caps: self.cap(other).into_iter().collect(),
        }
    }

    /// The cap, as `Cap::view` describes it.
    pub(super) fn cap(&self, other: Value) -> Option<CapView> {
        self.has_cap().then(|| CapView {
            name: "c".into(),
            max_held: self.max_held,
            max_groups: self.max_groups,
            held_elsewhere: other.held(),
            groups_elsewhere: u64::from(other.holders != 0),
            unusable: None,
        })
    }

    pub(super) fn has_cap(&self) -> bool {
        self.max_held.is_some() || self.max_groups.is_some()
    }

    /// Reports whether a grant that changes a group from `before` to `after` exceeds the cap.
    pub(super) fn exceeds_cap(&self, before: Value, after: Value, other: Value) -> bool {
        let held = after.held() + other.held();
        let groups = 1 + u64::from(other.holders != 0);
        self.max_held.is_some_and(|max| held > max)
            || (before.holders == 0 && self.max_groups.is_some_and(|max| groups > max))
    }

    /// The facts about a node of `own` that asks `at` that time.
    pub(super) fn facts(
        &self,
        slots: u64,
        own: Group,
        other: Group,
        node: usize,
        at: Tick,
    ) -> Facts {
        let (value, other) = (own.content.value, other.content.value);
        let held = value.holds(node);
        let age = |holder: usize| at.saturating_sub(value.since[holder]);
        let stalled = |max| (0..NODES).any(|holder| value.holds(holder) && age(holder) > max);
        let settles = |settle| own.released.is_some_and(|released| at < released + settle);
        let reasons = [
            (Reason::Full, value.held() >= slots),
            (Reason::Stalled, self.stall.is_some_and(stalled)),
            (Reason::Settling, self.settle.is_some_and(settles)),
            (
                Reason::Capped,
                self.exceeds_cap(value, value.with(node, at), other),
            ),
        ];
        let reasons = reasons.into_iter().filter(|(_, is_true)| *is_true && !held);
        Facts {
            held,
            not_held: !held,
            reasons: reasons.fold(0, |all, (reason, _)| all | reason as Reasons),
        }
    }

    /// Moves the times of a value into the past, by one tick.
    pub(super) fn age_value(&self, value: &mut Value) {
        value.since = value.since.map(|since| since.saturating_sub(1));
        value.released = self.age_release(value.released);
    }

    /// Moves the time of a release into the past, up to where no request can ask before the settle time has passed.
    pub(super) fn age_release(&self, released: Option<Tick>) -> Option<Tick> {
        let settle = self.settle?;
        let released = released?.checked_sub(1)?;
        (released + settle >= NOW).then_some(released)
    }

    /// Reports whether the policies depend on the time.
    pub(super) fn need_time(&self) -> bool {
        self.stall.is_some() || self.settle.is_some()
    }

    /// Drops what no policy needs.
    pub(super) fn keep(&self, mut value: Value) -> Value {
        if self.stall.is_none() {
            value.since = Default::default();
        }
        if self.settle.is_none() {
            value.released = None;
        }
        value
    }
}
