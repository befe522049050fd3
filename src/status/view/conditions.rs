//! Which conditions apply to a group, and what there is to say about each.

use jiff::Timestamp;

use super::condition::Condition;
use super::group::{GroupView, hold_age};
use super::rows::LockView;
use crate::coordinator::Block;
use crate::lock::NodeId;
use crate::lock::audit::Action;
use crate::text::duration::age;
use crate::text::escape::shortened;

/// The time for which a node is denied by a store that fails before a person should look at it.
const FAILING_SECONDS: i64 = 900;

/// The time for which a node waits for a closed gate before a person should look at it.
const GATE_SECONDS: i64 = 86_400;

/// Returns all conditions of a group, the most severe one first: never none.
pub(super) fn conditions(group: &GroupView, now: Timestamp) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut add = |condition, applies| {
        if applies {
            found.push(condition);
        }
    };
    let lock = group.lock.as_ref();
    let is_paused = lock.is_some_and(|lock| lock.paused);
    let is_configured = group.configured_slots.is_some();
    let is_overdue = |lock: &LockView| lock.holders.iter().any(|holder| holder.overdue);
    let is_blocked = |is_such: fn(&Block) -> bool| group.blocks.iter().any(is_such);
    add(Condition::Damaged, group.damaged.is_some());
    add(
        Condition::Stalled,
        is_blocked(|block| matches!(block, Block::Stalled { .. })),
    );
    add(Condition::Overdue, lock.is_some_and(is_overdue));
    add(Condition::RejectedClients, group.rejected_clients > 0);
    add(Condition::Failing, failing(group, now).next().is_some());
    add(
        Condition::CapUnusable,
        is_blocked(|block| matches!(block, Block::CapUnusable { .. })),
    );
    let is_overridden = group.override_until.is_some();
    let gate_fails = group.gate_failure.is_some() && !is_overridden;
    add(Condition::GateFailed, gate_fails);
    add(
        Condition::Unknown,
        lock.is_none() && group.damaged.is_none(),
    );
    let differs = |slots| lock.is_some_and(|lock| lock.slots != slots);
    add(
        Condition::SlotsDiffer,
        !is_paused && group.configured_slots.is_some_and(differs),
    );
    add(Condition::ForeignWriter, !group.caps_in_danger.is_empty());
    add(Condition::Paused, is_paused);
    add(Condition::NotConfigured, !is_configured);
    add(
        Condition::Frozen,
        is_blocked(|block| matches!(block, Block::Frozen { .. })),
    );
    add(
        Condition::Closed,
        is_blocked(|block| matches!(block, Block::OutsideWindow { .. })),
    );
    add(
        Condition::GateClosed,
        !gate_fails && is_blocked(|block| matches!(block, Block::GateClosed(_))),
    );
    add(
        Condition::CapReached,
        is_blocked(|block| matches!(block, Block::CapReached(_))),
    );
    add(
        Condition::Settling,
        is_blocked(|block| matches!(block, Block::Settling { .. })),
    );
    add(Condition::Overridden, is_overridden);
    if let Some(lock) = lock {
        let is_full = lock.free == 0;
        add(Condition::Free, lock.held == 0 && !is_full);
        add(Condition::Full, is_full && !is_paused);
        add(Condition::Rebooting, lock.held > 0 && !is_full);
    }
    found
}

/// Returns the reasons why nodes have been denied for a while by a store that fails.
fn failing(group: &GroupView, now: Timestamp) -> impl Iterator<Item = &str> {
    let waiting = group.waiting.iter().flatten();
    let failing = waiting.filter(move |waiter| {
        waiter.is_failing && now.duration_since(waiter.first_asked).as_secs() > FAILING_SECONDS
    });
    failing.map(|waiter| &*waiter.reason)
}

/// Reports whether a person should look at a group because of a condition.
pub(super) fn needs_attention(group: &GroupView, condition: Condition, now: Timestamp) -> bool {
    match condition {
        Condition::Damaged
        | Condition::Stalled
        | Condition::Overdue
        | Condition::RejectedClients
        | Condition::Failing
        | Condition::CapUnusable
        | Condition::GateFailed
        | Condition::Unknown
        | Condition::SlotsDiffer
        | Condition::ForeignWriter => true,
        // A pause is on purpose, until nodes wait for its end.
        Condition::Paused => group.waiting_nodes() > 0,
        // A gate opens by itself, unless what it watches is broken.
        Condition::GateClosed => group.waiting.iter().flatten().any(|waiter| {
            let waits = now.duration_since(waiter.first_asked);
            waits.as_secs() > GATE_SECONDS
        }),
        Condition::NotConfigured
        | Condition::Frozen
        | Condition::Closed
        | Condition::CapReached
        | Condition::Settling
        | Condition::Overridden
        | Condition::Full
        | Condition::Rebooting
        | Condition::Free => false,
    }
}

/// Describes a condition of a group in one line.
pub(super) fn detail(group: &GroupView, condition: Condition, now: Timestamp) -> String {
    let lock = group.lock.as_ref();
    let oldest = lock.and_then(|lock| lock.holders.first());
    match condition {
        Condition::Damaged => group.damaged.clone().unwrap_or_default(),
        Condition::Stalled => block_text(group, |block| matches!(block, Block::Stalled { .. })),
        Condition::Overdue => match oldest {
            Some(holder) => {
                let node = shortened(holder.node(), NodeId::MAX_BYTES);
                format!("{node} has held a slot for {}", hold_age(holder, group))
            }
            None => String::new(),
        },
        Condition::RejectedClients => match group.rejected_clients {
            1 => "1 client is rejected".into(),
            number => format!("{number} clients are rejected"),
        },
        Condition::Failing => failing(group, now).next().unwrap_or_default().to_owned(),
        Condition::CapUnusable => {
            block_text(group, |block| matches!(block, Block::CapUnusable { .. }))
        }
        Condition::GateFailed => group.gate_failure.clone().unwrap_or_default(),
        Condition::Unknown => "the store has not replied about this group".into(),
        Condition::SlotsDiffer => {
            let (stored, configured) = (lock.map_or(0, |lock| lock.slots), group.configured_slots);
            let configured = configured.unwrap_or_default();
            let noun = if stored == 1 { "slot" } else { "slots" };
            format!(
                "{stored} {noun} in the store, which count, and {configured} in the configuration"
            )
        }
        Condition::ForeignWriter => {
            let caps = group.caps_in_danger.join(", ");
            format!("another program writes a group of the cap {caps}")
        }
        Condition::NotConfigured => "only the store has it, so its requests are denied".into(),
        Condition::Paused => match group.paused_by() {
            Some(entry) => format!("by {}, {} ago", entry.by, age(entry.at, now)),
            None => "the group has no slots".into(),
        },
        Condition::Frozen => {
            let text = group.windows.text.as_deref().unwrap_or_default();
            text.strip_prefix("frozen ").unwrap_or(text).to_owned()
        }
        Condition::GateClosed => block_text(group, |block| matches!(block, Block::GateClosed(_))),
        Condition::CapReached => block_text(group, |block| matches!(block, Block::CapReached(_))),
        Condition::Settling => {
            let text = block_text(group, |block| matches!(block, Block::Settling { .. }));
            text.strip_prefix("settling ").unwrap_or(&text).to_owned()
        }
        Condition::Overridden => overridden(group, now),
        Condition::Closed => {
            let text = group
                .windows
                .text
                .as_deref()
                .unwrap_or("no window opens again");
            text.strip_prefix("closed, ").unwrap_or(text).to_owned()
        }
        Condition::Full | Condition::Rebooting => match oldest {
            Some(holder) => format!("oldest hold {}", hold_age(holder, group)),
            None => String::new(),
        },
        Condition::Free => match group.history.first() {
            Some(hold) => format!("last reboot {} ago", age(hold.until, now)),
            None => "no reboot recorded".into(),
        },
    }
}

/// Returns the first of the reasons of a kind for which a group grants no lock, in words.
fn block_text(group: &GroupView, is_such: fn(&Block) -> bool) -> String {
    let mut reasons = group.blocks.iter().zip(&group.reasons);
    let found = reasons.find(|(block, _)| is_such(block));
    found.map_or_else(String::new, |(_, reason)| reason.text.clone())
}

/// Describes an override, with the administrator who has started it.
fn overridden(group: &GroupView, now: Timestamp) -> String {
    let Some(until) = group.override_until else {
        return String::new();
    };
    let is_override = |action: &Action| matches!(action, Action::Override { .. });
    let mut log = group.audit_log.iter();
    let by = log.find(|entry| is_override(&entry.action));
    let by = by.map_or_else(String::new, |entry| format!(", by {}", entry.by));
    format!(
        "windows, freezes and gates until {until:.0}, for {}{by}",
        age(now, until)
    )
}
