//! The row of a group, which opens to its details.

use maud::{Markup, html};

use super::context::Page;
use super::parts::{command, group_id, runbook, timestamp};
use super::{holders, past, waiting};
use crate::status::view::{Condition, GroupView, LockView};
use crate::text::duration::seconds;

/// The maximum number of slots that are drawn. More are drawn in proportion.
const MAX_DRAWN: u64 = 60;

/// The maximum number of slots that are drawn large.
const MAX_LARGE: u64 = 10;

/// Renders the row of a group.
pub(super) fn row(page: &Page<'_>, group: &GroupView, open: bool) -> Markup {
    let waiting = group.waiting_nodes();
    html! {
        details.group.attention[group.needs_attention].waiting[waiting > 0].closed[is_closed(group)]
            data-key=(group.name) open[open] {
            summary {
                b { (group.name) }
                span.chip.(class(group)) { (group.state.as_str()) }
                (slots(group))
                @match (group.waiting_count, group.more_may_wait) {
                    (None, _) | (Some(0), true) => span.quiet { "waiting not known" },
                    (Some(0), false) => span.quiet { "none waiting" },
                    (Some(waiting), _) => span.number { (group.at_least()) (waiting) " waiting" },
                }
                span.quiet {
                    (group.detail())
                    @for condition in group.conditions.iter().skip(1).filter(|other| **other < Condition::Full) {
                        ", also " (condition.as_str())
                    }
                }
            }
            // The element is inside of the details, so that a link to it opens them.
            div.in id=(group_id(&group.name)) {
                @for condition in &group.conditions { (advice(page, group, *condition)) }
                (holders::table(page, group))
                (waiting::tables(page, group))
                (past::tables(page, group))
                p.quiet { (policy(group)) }
            }
        }
    }
}

/// Reports whether a group grants no locks on purpose.
pub(super) fn is_closed(group: &GroupView) -> bool {
    !group.windows.open || group.lock.as_ref().is_some_and(|lock| lock.paused)
}

/// Returns the class that has the color of the state of a group.
fn class(group: &GroupView) -> &'static str {
    match group.state {
        Condition::Damaged
        | Condition::Overdue
        | Condition::RejectedClients
        | Condition::Failing => "bad",
        Condition::Unknown | Condition::SlotsDiffer => "warn",
        Condition::Paused if group.needs_attention => "warn",
        Condition::NotConfigured | Condition::Paused | Condition::Closed => "calm",
        Condition::Full | Condition::Rebooting | Condition::Free => "ok",
    }
}

/// Draws the slots, the held ones first.
fn slots(group: &GroupView) -> Markup {
    let Some(lock) = &group.lock else {
        return html! { span.slots.quiet { "unknown" } };
    };
    let (held, drawn) = drawn(lock);
    let over = !lock.paused && lock.held as u64 > lock.slots;
    let words = match lock.slots {
        0 => format!("{} held", lock.held),
        slots => format!("{} of {slots}", lock.held),
    };
    html! {
        span.slots.many[drawn > MAX_LARGE] {
            @for slot in 0..drawn {
                @match () {
                    () if slot >= held => i.free {},
                    () if over => i.over {},
                    () => i {},
                }
            }
            span.number { (words) }
        }
    }
}

/// Returns the number of held slots to draw, and of all slots.
fn drawn(lock: &LockView) -> (u64, u64) {
    let held = lock.held as u64;
    let all = held.max(lock.slots);
    if all <= MAX_DRAWN {
        return (held, all);
    }
    // A slot that is held and one that is free are always drawn.
    let part = held.saturating_mul(MAX_DRAWN) / all;
    let most = if held < all { MAX_DRAWN - 1 } else { MAX_DRAWN };
    (part.clamp(held.min(1), most), MAX_DRAWN)
}

/// Renders what to do about a condition of a group.
fn advice(page: &Page<'_>, group: &GroupView, condition: Condition) -> Markup {
    let (text, section) = match condition {
        Condition::Damaged => (
            "The stored value cannot be used, so all requests of the group are denied. This command prints the one that \
             repairs the value:",
            "A group is damaged or not known",
        ),
        Condition::Overdue => (
            "Check the node before you unlock it: an update that broke it would break the next one.",
            "A node holds its slot for too long",
        ),
        Condition::RejectedClients => (
            "Nodes of this group are rejected, so they cannot update; the rejected clients are listed below the groups.",
            "Clients are rejected",
        ),
        Condition::Failing => (
            "The store fails for requests of this group, although it replies.",
            "Nodes wait although no slot is held",
        ),
        Condition::Unknown => (
            "The store has not replied about this group yet, so its slots and holders are not known.",
            "A group is damaged or not known",
        ),
        Condition::SlotsDiffer => (
            "The number in the store takes precedence. This command sets it to the configured one:",
            "The slots of a group differ",
        ),
        Condition::Paused => (
            "No slot is granted until this command resumes the group:",
            "A group is paused",
        ),
        Condition::NotConfigured
        | Condition::Closed
        | Condition::Full
        | Condition::Rebooting
        | Condition::Free => return Markup::default(),
    };
    // The table of holders has the command that unlocks one.
    let remedy = match condition {
        Condition::Overdue => None,
        _ => group.remedy(condition, page.config),
    };
    html! {
        p.advice {
            (text) " "
            @if let Some(remedy) = remedy { (command(&remedy)) " " }
            (runbook(section))
        }
    }
}

/// Renders when the group grants locks, and how long its holds take.
fn policy(group: &GroupView) -> Markup {
    let windows = &group.windows;
    html! {
        @match &windows.text {
            Some(text) => { "Reboot windows: " (text) ". " }
            None if windows.configured => { "Reboot windows: none opens again. " }
            None => { "No reboot windows: slots are granted at any time. " }
        }
        @if let Some(next) = windows.closes.or(windows.opens) {
            "(" (timestamp(next)) ") "
        }
        @match group.configured_slots {
            Some(1) => { "The configuration has 1 slot. " }
            Some(slots) => { "The configuration has " (slots) " slots. " }
            None => { "The group is not configured. " }
        }
        @if let Some(usual) = group.usual_hold_seconds {
            "A node usually holds its slot for " (seconds(usual)) "."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_slots_are_drawn_in_proportion_and_neither_a_held_nor_a_free_one_disappears() {
        let lock = |held: usize, slots: u64| LockView {
            slots,
            held,
            free: 0,
            paused: false,
            holders: Vec::new(),
        };
        for ((held, slots), expected) in [
            ((0, 0), (0, 0)),
            ((2, 3), (2, 3)),
            ((3, 1), (3, 3)),
            ((60, 60), (60, 60)),
            ((50, 100), (30, 60)),
            ((1, 1000), (1, 60)),
            ((0, 1000), (0, 60)),
            ((999, 1000), (59, 60)),
            ((1000, 1000), (60, 60)),
        ] {
            assert_eq!(drawn(&lock(held, slots)), expected, "{held} of {slots}");
        }
    }
}
