//! The reasons why a group grants no new lock, with what a person needs to know about each.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::gate::Closed;
use crate::group::{DenyReason, Reservation};
use crate::lock::GroupName;
use crate::lock::policy::{CapReached, Conditions, Evaluation, Gates, Refusal, Stalled, Terms};
use crate::lock::semaphore::Semaphore;
use crate::lock::window::{CalendarState, Freeze, Opening};

/// A reason why a group grants no new lock.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    /// The group is paused.
    Paused,
    /// A holder has held for too long.
    Stalled {
        holder: Stalled,
        /// The name of the node, if it was stored.
        name: Option<Arc<str>>,
        /// The maximum duration of a hold.
        after: SignedDuration,
    },
    /// A freeze is active.
    Frozen {
        freeze: Freeze,
        next: Option<Opening>,
    },
    /// No reboot window is open.
    OutsideWindow { next: Option<Opening> },
    /// The free slots are kept for nodes that have waited longer.
    Reserved(Reservation),
    /// A gate is closed.
    GateClosed(Closed),
    /// A cap is reached.
    CapReached(CapReached),
    /// A cap cannot be evaluated, because the value of this group cannot be used.
    CapUnusable { cap: Arc<str>, group: GroupName },
    /// Every slot is held.
    Full { slots: u64 },
    /// The last release is too recent.
    Settling { until: Timestamp },
}

/// The reasons that are not in the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// The window, the freeze, or the reservation.
    pub(crate) closed: Option<Block>,
    /// A gate that is closed.
    pub(crate) gate: Option<Closed>,
}

// === impl Block ===

impl Block {
    /// Returns the reasons why a group grants no new lock now, the one that a node is told first.
    pub(crate) fn all(
        semaphore: &Semaphore,
        conditions: &Conditions,
        outside: &Outside,
        now: Timestamp,
    ) -> Vec<Block> {
        let terms = Terms {
            closed: outside.closed.is_some(),
            gates: match outside.gate {
                Some(_) => Gates::Closed,
                None => Gates::None,
            },
        };
        let evaluation = Evaluation::new(conditions);
        let refusals = evaluation.refusals(semaphore.facts(), now, terms);
        refusals
            .map(|refusal| Block::new(refusal, Some(semaphore), conditions, outside))
            .collect()
    }

    /// Returns the reason of a calendar.
    pub(crate) fn of_calendar(state: CalendarState) -> Option<Block> {
        match state {
            CalendarState::Always | CalendarState::Open { .. } => None,
            CalendarState::Closed { next } => Some(Block::OutsideWindow { next }),
            CalendarState::Frozen { freeze, next } => Some(Block::Frozen { freeze, next }),
        }
    }

    /// Describes the reason for which a lock on `semaphore` was refused under these conditions.
    pub(super) fn new(
        refusal: Refusal,
        semaphore: Option<&Semaphore>,
        conditions: &Conditions,
        outside: &Outside,
    ) -> Block {
        match refusal {
            Refusal::Paused => Block::Paused,
            Refusal::Stalled(holder) => {
                let hold = semaphore.and_then(|semaphore| semaphore.holders.get(&holder.id));
                let stall = conditions.stall.as_ref();
                Block::Stalled {
                    name: hold.and_then(|hold| hold.client.name.clone()),
                    holder,
                    after: stall.map_or(SignedDuration::ZERO, |stall| stall.after),
                }
            }
            Refusal::Closed => outside
                .closed
                .clone()
                .unwrap_or(Block::OutsideWindow { next: None }),
            Refusal::GateClosed | Refusal::GateUnasked => {
                Block::GateClosed(outside.gate.clone().unwrap_or_else(Closed::unasked))
            }
            Refusal::CapReached(reached) => Block::CapReached(reached),
            Refusal::CapUnusable { cap, group } => Block::CapUnusable { cap, group },
            Refusal::Full { slots } => Block::Full { slots },
            Refusal::Settling { until } => Block::Settling { until },
        }
    }

    /// Returns the word for programs.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Block::Paused => "paused",
            Block::Stalled { .. } => "group_stalled",
            Block::Frozen { .. } => "frozen",
            Block::OutsideWindow { .. } => "outside_reboot_window",
            Block::Reserved(_) => "reserved",
            Block::GateClosed(_) => "gate_closed",
            Block::CapReached(_) | Block::CapUnusable { .. } => "cap_reached",
            Block::Full { .. } => "full",
            Block::Settling { .. } => "settling",
        }
    }

    /// Returns the reason that is shown for a node that waits.
    pub(super) fn deny_reason(&self) -> DenyReason {
        match self {
            Block::Paused => DenyReason::Paused,
            Block::Stalled { .. } => DenyReason::Stalled,
            Block::Frozen { .. } => DenyReason::Frozen,
            Block::OutsideWindow { .. } => DenyReason::OutsideWindow,
            Block::Reserved(_) => DenyReason::Reserved,
            Block::GateClosed(_) => DenyReason::GateClosed,
            Block::CapReached(_) | Block::CapUnusable { .. } => DenyReason::CapReached,
            Block::Full { .. } => DenyReason::Full,
            Block::Settling { .. } => DenyReason::Settling,
        }
    }
}
