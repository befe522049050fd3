//! The row of a group, which opens to its details.

use maud::{Markup, html};

use super::context::Page;
use super::parts::{command, group_id, head, runbook, timestamp};
use super::{holders, past, waiting};
use crate::status::view::{CalendarLine, Condition, GroupView, LockView, is_refusal};
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
                (blocked(group))
                (holders::table(page, group))
                (waiting::tables(page, group))
                (past::tables(page, group))
                p.quiet { (policy(group)) }
                (calendar(&group.calendar))
            }
        }
    }
}

/// Reports whether a group grants no locks on purpose.
pub(super) fn is_closed(group: &GroupView) -> bool {
    group
        .conditions
        .iter()
        .any(|condition| is_refusal(*condition))
}

/// Returns the class that has the color of the state of a group.
fn class(group: &GroupView) -> &'static str {
    match group.state {
        Condition::Damaged
        | Condition::Stalled
        | Condition::Overdue
        | Condition::RejectedClients
        | Condition::Failing
        | Condition::CapUnusable
        | Condition::GateFailed => "bad",
        Condition::Unknown | Condition::SlotsDiffer | Condition::ForeignWriter => "warn",
        Condition::Paused | Condition::GateClosed if group.needs_attention => "warn",
        Condition::Overridden => "warn",
        Condition::NotConfigured
        | Condition::Paused
        | Condition::Frozen
        | Condition::Closed
        | Condition::GateClosed
        | Condition::CapReached
        | Condition::Settling => "calm",
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
        Condition::Stalled => (
            "No slot is granted until this node reports or is unlocked. Check it first: an update that broke it would break \
             the next one. This command unlocks it:",
            "A group is stalled",
        ),
        // The advice is the same.
        Condition::Overdue if group.state == Condition::Stalled => return Markup::default(),
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
        Condition::CapUnusable => (
            "A cap of the group cannot be evaluated, so no slot is granted. This command prints the one that repairs the \
             value of the other group:",
            "A group is damaged or not known",
        ),
        Condition::GateFailed => (
            "A gate of the group gives no answer and counts as closed, so no slot is granted.",
            "A gate cannot be asked",
        ),
        Condition::Unknown => (
            "The store has not replied about this group yet, so its slots and holders are not known.",
            "A group is damaged or not known",
        ),
        Condition::SlotsDiffer => (
            "The number in the store takes precedence. This command sets it to the configured one:",
            "The slots of a group differ",
        ),
        Condition::ForeignWriter => (
            "Another program, such as coreos/airlock, has written the group in the last hour. It does not know caps, and may \
             exceed them: let only Airlock serve the groups of a cap.",
            "Limit several groups together",
        ),
        Condition::Paused => (
            "No slot is granted until this command resumes the group:",
            "A group is paused",
        ),
        Condition::Overridden => (
            "Slots are granted in spite of reboot windows, freezes and gates. This command ends that:",
            "Grant reboots in an emergency",
        ),
        Condition::NotConfigured
        | Condition::Frozen
        | Condition::Closed
        | Condition::GateClosed
        | Condition::CapReached
        | Condition::Settling
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

/// Renders the reasons why the group grants no new lock.
fn blocked(group: &GroupView) -> Markup {
    let reasons = group.blocked.as_deref().unwrap_or_default();
    // Of an unknown state, the reasons are not complete.
    let reasons = if group.lock.is_some() { reasons } else { &[] };
    html! {
        @if !reasons.is_empty() {
            div {
                p { "No slot is granted now:" }
                ul.reasons {
                    @for reason in reasons {
                        li {
                            (reason.text)
                            @if let Some(until) = reason.until { " " (timestamp(until)) }
                        }
                    }
                }
            }
        }
    }
}

/// Renders the calendar of a group with windows or freezes.
fn calendar(lines: &[CalendarLine]) -> Markup {
    html! {
        @if !lines.is_empty() {
            details.more data-key="calendar" {
                summary { "Calendar of the next 30 days" }
                table {
                    caption { "Calendar" }
                    (head(&["Slots", "From", "Until"]))
                    tbody {
                        @for line in lines {
                            tr {
                                th scope="row" {
                                    @if line.is_freeze { "frozen" } @else { "granted" }
                                    @if line.is_now { " now" }
                                    @if let Some(reason) = &line.reason { " " span.quiet { "(" (reason) ")" } }
                                }
                                td data-label="from" { (line.from) }
                                td data-label="until" { (line.until) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Renders when the group grants locks, and how long its holds take.
fn policy(group: &GroupView) -> Markup {
    let windows = &group.windows;
    html! {
        @match &windows.text {
            Some(text) if windows.configured => { "Reboot windows: " (text) ". " }
            Some(text) => { "No reboot windows, but freezes: " (text) ". " }
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
