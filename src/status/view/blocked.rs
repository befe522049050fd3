//! The reasons why a group grants no new lock, in words.

use jiff::Timestamp;
use serde::Serialize;

use super::caps::CapUsage;
use super::windows::{closed_text, frozen_text};
use crate::coordinator::Block;
use crate::gate::Closed;
use crate::lock::NodeId;
use crate::lock::policy::Stalled;
use crate::names::NodeNames;
use crate::text::duration::{age, seconds};
use crate::text::escape::shortened;

/// A reason why a group grants no new lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BlockView {
    /// The word for programs.
    pub(crate) reason: &'static str,
    /// The reason in words, with what ends it.
    pub(crate) text: String,
    /// The time at which it ends, if that is known.
    pub(crate) until: Option<Timestamp>,
}

// === impl BlockView ===

impl BlockView {
    /// Describes a reason at `now`.
    pub(super) fn new(block: &Block, caps: &[CapUsage], names: &NodeNames, now: Timestamp) -> Self {
        BlockView {
            reason: block.label(),
            text: text(block, caps, names, now),
            until: until(block),
        }
    }
}

fn text(block: &Block, caps: &[CapUsage], names: &NodeNames, now: Timestamp) -> String {
    match block {
        Block::Paused => "the group is paused".into(),
        Block::Stalled {
            holder:
                Stalled {
                    id,
                    since,
                    is_exact,
                },
            name,
            after,
        } => {
            let name = names.name(id).or_else(|| name.clone());
            let node = shortened(name.as_deref().unwrap_or(id), NodeId::MAX_BYTES);
            let held = match is_exact {
                true => format!("has held a slot for {}, since {since:.0}", age(*since, now)),
                false => format!(
                    "holds a slot that was first seen {} ago, at {since:.0}",
                    age(*since, now)
                ),
            };
            let after = seconds(after.as_secs());
            format!("{node} {held}; the limit is {after}")
        }
        Block::Frozen { freeze, next } => frozen_text(freeze, next.as_ref(), now),
        Block::OutsideWindow { next: Some(next) } => closed_text(next, now),
        Block::OutsideWindow { next: None } => "closed, and no window opens again".into(),
        Block::Reserved(reservation) => reservation.to_string(),
        Block::GateClosed(Closed { gate, reason }) => format!("gate {gate} closed: {reason}"),
        Block::CapReached(reached) => {
            let cap = caps.iter().find(|cap| *cap.name == *reached.cap);
            match cap {
                Some(cap) => format!("cap {} reached: {}", cap.name, cap.usage()),
                None => reached.to_string(),
            }
        }
        Block::CapUnusable { cap, group } => format!(
            "cap {cap} cannot be evaluated: the value of group {} is damaged or not known",
            shortened(group.as_str(), NodeId::MAX_BYTES)
        ),
        Block::Full { slots: 1 } => "the only slot is held".into(),
        Block::Full { slots } => format!("all {slots} slots are held"),
        Block::Settling { until } => {
            format!("settling until {until:.0}, for {}", age(now, *until))
        }
    }
}

fn until(block: &Block) -> Option<Timestamp> {
    match block {
        Block::Frozen { next, .. } | Block::OutsideWindow { next } => {
            next.as_ref().map(|next| next.opens)
        }
        Block::Settling { until } => Some(*until),
        Block::Paused
        | Block::Stalled { .. }
        | Block::Reserved(_)
        | Block::GateClosed(_)
        | Block::CapReached(_)
        | Block::CapUnusable { .. }
        | Block::Full { .. } => None,
    }
}

/// Returns what ends a reason other than a window or a lack of slots, in words that follow "until".
pub(super) fn end(block: &Block) -> Option<String> {
    match block {
        Block::Stalled { holder, name, .. } => {
            let node = shortened(name.as_deref().unwrap_or(&holder.id), NodeId::MAX_BYTES);
            Some(format!("{node} reports or is unlocked"))
        }
        Block::Frozen { next, .. } => Some(match next {
            Some(next) => next.opens_text(),
            None => "the configuration changes: no window opens again".into(),
        }),
        Block::GateClosed(closed) => Some(format!("gate {} is open", closed.gate)),
        Block::CapReached(reached) => Some(format!(
            "nodes of the groups of cap {} are back",
            reached.cap
        )),
        Block::CapUnusable { cap, .. } => Some(format!("cap {cap} can be evaluated")),
        Block::Settling { until } => Some(format!("{until:.0}")),
        Block::Paused | Block::OutsideWindow { .. } | Block::Reserved(_) | Block::Full { .. } => {
            None
        }
    }
}
