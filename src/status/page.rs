//! The page for operators: the holders of each group, how long they have held their locks, and the waiting nodes.
//!
//! The HTML contains no scripts and refers to no other site. maud escapes all text for HTML, and [`render`] escapes what
//! is invisible or changes the direction of the text.

use std::path::Path;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::view::{GroupView, LockView, StatusView, WaiterView};
use crate::config::command_line;
use crate::lock::NodeId;
use crate::text::duration::age;
use crate::text::escape::{printable_lines, shortened};

const STYLE: &str = include_str!("page.css");

/// The interval at which a browser reloads the page.
const REFRESH_SECONDS: u32 = 10;

/// The maximum number of slots that are drawn.
const MAX_DRAWN_SLOTS: u64 = 60;

/// The maximum number of characters of an administrator's command: it may name ids of any length.
const MAX_ACTION: usize = 1_000;

/// Renders the page, with commands that use the configuration `config`.
pub(super) fn render(view: &StatusView, config: &Path) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { (title(view)) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body(view, config)) }
        }
    };
    printable_lines(&page.into_string()).into_owned()
}

fn body(view: &StatusView, config: &Path) -> Markup {
    html! {
        header {
            h1 { "Airlock" }
            @if !view.store.up {
                span.badge.bad { "store unavailable" }
            } @else if !view.store.writable {
                span.badge.bad { "store refuses writes" }
            } @else {
                span.badge.good { "store available" }
            }
        }
        p.summary { (summary(view)) }
        @if let Some(problem) = &view.store.problem {
            p.alarm {
                @if view.store.up {
                    strong { "No lock is granted until the store accepts writes again: " }
                    (problem) "."
                } @else {
                    strong { "Requests are denied until the store is available again: " }
                    (problem) ". The state below may be out of date."
                }
            }
        }
        @for notice in &view.store.notices {
            p.alarm { (notice) "." }
        }
        main {
            @for group in &view.groups {
                (section(group, view.now, config))
            }
        }
        footer {
            (utc(view.now)) " on " (view.host) ", Airlock " (view.version)
            ". Refreshed every " (REFRESH_SECONDS) " s. "
            a href="/v1/status" { "JSON" } " " a href="/metrics" { "Metrics" }
        }
    }
}

/// Returns the title, which sums up the state for a browser tab.
fn title(view: &StatusView) -> String {
    if !view.store.up {
        return "! Airlock: store unavailable".into();
    }
    if !view.store.writable {
        return "! Airlock: store refuses writes".into();
    }
    if view.groups.iter().any(|group| group.damaged.is_some()) {
        return "! Airlock: stored value damaged".into();
    }
    let locks = || view.groups.iter().filter_map(|group| group.lock.as_ref());
    let held: usize = locks().map(|lock| lock.holders.len()).sum();
    let waiting = waiting_count(&view.groups);
    let at_least = at_least(&view.groups);
    let unknown = match unknown_count(view) {
        0 => String::new(),
        unknown => format!(", {}", count(unknown, "group", "unknown")),
    };
    format!("Airlock: {held} held, {at_least}{waiting} waiting{unknown}")
}

/// Returns the number of groups about which the store has not replied yet.
fn unknown_count(view: &StatusView) -> usize {
    let groups = view.groups.iter();
    groups
        .filter(|group| group.lock.is_none() && group.damaged.is_none())
        .count()
}

/// Returns a sentence about all groups.
fn summary(view: &StatusView) -> String {
    let groups = || view.groups.iter();
    let holders = groups().flat_map(|group| {
        let lock = group.lock.iter();
        lock.flat_map(|lock| lock.holders.iter().map(|holder| (holder, &group.name)))
    });
    let held = holders.clone().count();
    let longest = holders
        .filter_map(|(holder, group)| Some((holder.age_seconds?, holder.age.as_ref()?, group)))
        .max();
    let longest = longest.map_or_else(String::new, |(_, age, group)| {
        format!(", the longest for {age} in {group}")
    });
    let is_complete = groups().all(|group| group.lock.is_some());
    let held = match is_complete {
        true => count(held, "slot", "held"),
        false => count(held, "slot", "known to be held"),
    };
    let waiting = count(waiting_count(&view.groups), "node", "waiting");
    let at_least = at_least(&view.groups);
    let damaged = match groups().filter(|group| group.damaged.is_some()).count() {
        0 => String::new(),
        1 => " The holders of 1 group are unknown, because its stored value is damaged.".into(),
        damaged => format!(
            " The holders of {damaged} groups are unknown, because their stored values are damaged."
        ),
    };
    let unknown = match unknown_count(view) {
        0 => String::new(),
        1 => " The state of 1 group is not known yet.".into(),
        unknown => format!(" The state of {unknown} groups is not known yet."),
    };
    format!("{held}{longest}; {at_least}{waiting}.{damaged}{unknown}")
}

fn waiting_count(groups: &[GroupView]) -> usize {
    groups.iter().filter_map(|group| group.waiting_count).sum()
}

/// Returns what stands before a number of waiting nodes.
fn at_least(groups: &[GroupView]) -> &'static str {
    if groups.iter().any(|group| group.more_may_wait) {
        "at least "
    } else {
        ""
    }
}

/// Formats a number of things, such as `no slots held` and `2 nodes waiting`.
fn count(number: usize, thing: &str, state: &str) -> String {
    match number {
        0 => format!("no {thing}s {state}"),
        1 => format!("1 {thing} {state}"),
        _ => format!("{number} {thing}s {state}"),
    }
}

/// Renders a group.
fn section(group: &GroupView, now: Timestamp, config: &Path) -> Markup {
    html! {
        section {
            div.head {
                h2 { (group.name) }
                (badges(group))
            }
            @if let Some(reason) = &group.damaged {
                p.alarm {
                    strong { "The stored value cannot be used: " } (reason)
                    ". All requests of the group are denied. This command prints the one that repairs the value: "
                    code { (command_line(config, "get slots", &[&group.name])) }
                }
            } @else if let Some(lock) = &group.lock {
                (slots(lock))
                (holders(lock, &group.name, config))
            } @else {
                p.quiet { "Unknown: the store has not replied about this group yet." }
            }
            (waiting(group, now))
            @if let Some(text) = &group.windows.text {
                p.quiet { "Reboot windows: " (text) }
            }
            @if let Some(entry) = group.audit_log.first() {
                p.quiet {
                    "Last change by an administrator: " (entry.by) " " (shortened(&entry.action.to_string(), MAX_ACTION))
                    ", " time title=(utc(entry.at)) { (age(entry.at, now)) " ago" }
                }
            }
        }
    }
}

/// Renders what is unusual about a group.
fn badges(group: &GroupView) -> Markup {
    let paused = group.lock.as_ref().is_some_and(|lock| lock.paused);
    html! {
        @if paused {
            span.badge.warn { "paused" }
        } @else if !group.windows.open {
            span.badge.warn { "outside reboot windows" }
        }
        @if let (Some(lock), Some(configured)) = (&group.lock, group.configured_slots) && !paused && lock.slots != configured {
            span.badge.warn { (lock.slots) " slots in the store, " (configured) " in the configuration" }
        }
    }
}

/// Draws the slots, the held ones first.
fn slots(lock: &LockView) -> Markup {
    let held = lock.holders.len() as u64;
    let drawn = held.max(lock.slots).min(MAX_DRAWN_SLOTS);
    let caption = match lock.slots {
        0 => format!("{held} held; no new locks while paused"),
        slots => format!("{held} of {slots} held"),
    };
    html! {
        div.slots {
            @for slot in 0..drawn {
                @let over = slot >= lock.slots;
                span.slot.held[slot < held].over[over] aria-hidden="true" {}
            }
            span.words { (caption) }
        }
    }
}

/// Renders the holders, and the command that unlocks the oldest one.
fn holders(lock: &LockView, group: &str, config: &Path) -> Markup {
    html! {
        @if lock.holders.is_empty() {
            p.quiet { "No node holds a slot." }
        } @else {
            table {
                thead { tr { th { "Holder" } th.when { "Since" } } }
                tbody {
                    @for holder in &lock.holders {
                        tr {
                            td.id { (shortened(&holder.id, NodeId::MAX_BYTES)) }
                            td.when {
                                @match (&holder.age, holder.since) {
                                    (Some(age), Some(since)) => {
                                        strong.old[is_old(holder.age_seconds)] { (age) }
                                        " " small { (utc(since)) }
                                    }
                                    _ => { "unknown" }
                                }
                            }
                        }
                    }
                }
            }
            details {
                summary { "Unlock a node that does not come back" }
                p { "Make sure that the node is down for good or already back, then run:" }
                code { (command_line(config, "unlock", &[group, &lock.holders[0].id])) }
            }
        }
    }
}

/// Renders the waiting nodes.
fn waiting(group: &GroupView, now: Timestamp) -> Markup {
    let count = group.waiting_count.unwrap_or_default();
    let listed = group.waiting.as_deref().unwrap_or_default();
    let more = count.saturating_sub(listed.len());
    let at_least = at_least(std::slice::from_ref(group));
    html! {
        @if count > 0 {
            table.waiting {
                thead {
                    tr {
                        th { "Waiting (" (at_least) (count) ")" }
                        th.when { "For" }
                    }
                }
                tbody {
                    @for waiter in listed {
                        (waiting_row(waiter, now))
                    }
                    @if more > 0 {
                        tr { td colspan="2" { "and " (at_least) (more) " more" } }
                    }
                }
            }
        }
    }
}

fn waiting_row(waiter: &WaiterView, now: Timestamp) -> Markup {
    html! {
        tr {
            td.id { (waiter.id) }
            td.when {
                strong { (age(waiter.first_asked, now)) } " "
                small {
                    (waiter.reason) ", at " (waiter.server)
                }
            }
        }
    }
}

/// Reports whether a lock is held too long, by the threshold of the alert AirlockLockHeldTooLong.
fn is_old(age_seconds: Option<i64>) -> bool {
    age_seconds.is_some_and(|seconds| seconds > 3600)
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
