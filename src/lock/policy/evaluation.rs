//! The evaluation of policies: the reasons why a new grant is refused, in the order in which a node is told.

use std::cell::OnceCell;

use jiff::Timestamp;

use super::conditions::{Conditions, Facts, Gates, Terms};
use super::refusal::{Refusal, Stalled};

/// The evaluation of the commands of one commit, in order.
#[derive(Debug)]
pub(crate) struct Evaluation<'a> {
    conditions: &'a Conditions,
    /// The number of grants so far.
    granted: u64,
    /// The holder that has held for longest before the commit, until a holder is released.
    oldest: OnceCell<Option<Stalled>>,
}

/// A check for one reason to refuse a grant.
type Check = fn(&Evaluation<'_>, Facts<'_>, Timestamp, Terms) -> Option<Refusal>;

/// All checks, in the order of [`Refusal`].
const CHECKS: [Check; 8] = [
    |_, facts, _, _| (facts.slots == 0).then_some(Refusal::Paused),
    |evaluation, facts, at, _| evaluation.stalled(facts, at),
    |_, facts, at, terms| (terms.closed && !facts.is_overridden(at)).then_some(Refusal::Closed),
    |_, facts, at, terms| {
        let is_closed = terms.gates == Gates::Closed && !facts.is_overridden(at);
        is_closed.then_some(Refusal::GateClosed)
    },
    |evaluation, facts, _, _| evaluation.cap_reached(facts),
    |_, facts, _, _| {
        let slots = facts.slots;
        (facts.free() == 0).then_some(Refusal::Full { slots })
    },
    |evaluation, facts, at, _| evaluation.settling(facts, at),
    |evaluation, facts, at, terms| evaluation.gate_unasked(facts, at, terms),
];

// === impl Evaluation ===

impl<'a> Evaluation<'a> {
    /// Starts the evaluation of the commands of one commit.
    pub(crate) fn new(conditions: &'a Conditions) -> Self {
        Evaluation {
            conditions,
            granted: 0,
            oldest: OnceCell::new(),
        }
    }

    /// Returns the reasons why no lock is granted to a request of that time, the one that a node is told first.
    pub(crate) fn refusals(
        &self,
        facts: Facts<'_>,
        at: Timestamp,
        terms: Terms,
    ) -> impl Iterator<Item = Refusal> {
        CHECKS
            .iter()
            .filter_map(move |check| check(self, facts, at, terms))
    }

    /// Records that a lock was granted.
    pub(crate) fn granted(&mut self) {
        self.granted += 1;
    }

    /// Records that a node was released.
    pub(crate) fn released(&mut self) {
        self.oldest.take();
    }

    fn stalled(&self, facts: Facts<'_>, at: Timestamp) -> Option<Refusal> {
        let stall = self.conditions.stall.as_ref()?;
        let oldest = self.oldest.get_or_init(|| stall.oldest(facts.holders));
        let oldest = oldest.as_ref()?;
        let is_stalled = at.duration_since(oldest.since) > stall.after;
        is_stalled.then(|| Refusal::Stalled(oldest.clone()))
    }

    fn settling(&self, facts: Facts<'_>, at: Timestamp) -> Option<Refusal> {
        let settle = self.conditions.settle?;
        let until = facts.released_at?.checked_add(settle);
        let until = until.unwrap_or(Timestamp::MAX);
        (until > at).then_some(Refusal::Settling { until })
    }

    fn cap_reached(&self, facts: Facts<'_>) -> Option<Refusal> {
        let mut caps = self.conditions.caps.iter();
        caps.find_map(|cap| cap.refusal(facts.holders.len() as u64))
    }

    fn gate_unasked(&self, facts: Facts<'_>, at: Timestamp, terms: Terms) -> Option<Refusal> {
        let is_unasked = match terms.gates {
            Gates::None | Gates::Closed => false,
            Gates::Unasked => true,
            Gates::Allow(grants) => self.granted >= grants,
        };
        (is_unasked && !facts.is_overridden(at)).then_some(Refusal::GateUnasked)
    }
}
