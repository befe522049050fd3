//! The page: who holds the locks, since when, and who waits, in one look.
//!
//! HTML without scripts and without anything from elsewhere; maud escapes whatever clients sent.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::snapshot::{GroupView, LockView, Snapshot, WaiterView};
use crate::age::age;

const STYLE: &str = include_str!("page.css");

/// How often a browser asks again, in seconds.
const REFRESH: u32 = 10;

/// The most slots that are drawn one by one.
const DRAWN_SLOTS: u64 = 60;

/// The whole page.
pub fn render(snapshot: &Snapshot, host: &str) -> Markup {
    let now = snapshot.now;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH);
                title { (title(snapshot)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Airlock" }
                    @if snapshot.store.up {
                        span.badge.good { "store answers" }
                    } @else {
                        span.badge.bad { "store does not answer" }
                    }
                }
                p.summary { (summary(snapshot)) }
                @if let Some(problem) = &snapshot.store.problem {
                    p.alarm {
                        strong { "Nodes are refused until the store answers again. " }
                        (problem) ". What is shown below may be old."
                    }
                }
                main {
                    @for group in &snapshot.groups {
                        (section(group, now))
                    }
                }
                footer {
                    (utc(now)) " on " (host) ", airlock " (snapshot.version)
                    ". Refreshes every " (REFRESH) " s. "
                    a href="/v1/status" { "JSON" } " " a href="/metrics" { "Metrics" }
                }
            }
        }
    }
}

/// What the browser's tab says: a look at it may be enough.
fn title(snapshot: &Snapshot) -> String {
    if !snapshot.store.up {
        return "! Airlock: store does not answer".into();
    }
    let locks = || {
        snapshot
            .groups
            .iter()
            .filter_map(|group| group.lock.as_ref())
    };
    let held: usize = locks().map(|lock| lock.holders.len()).sum();
    let waiting: usize = snapshot
        .groups
        .iter()
        .map(|group| group.waiting_count)
        .sum();
    format!("Airlock: {held} held, {waiting} waiting")
}

/// The whole fleet in a sentence or two.
fn summary(snapshot: &Snapshot) -> String {
    let groups = || snapshot.groups.iter();
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
    let waiting: usize = groups().map(|group| group.waiting_count).sum();
    let (held, waiting) = (
        count(held, "slot", "held"),
        count(waiting, "node", "waiting"),
    );
    format!("{held}{longest}; {waiting}.")
}

/// Such as `no slots held` and `2 nodes waiting`.
fn count(number: usize, thing: &str, state: &str) -> String {
    match number {
        0 => format!("no {thing}s {state}"),
        1 => format!("1 {thing} {state}"),
        _ => format!("{number} {thing}s {state}"),
    }
}

fn section(group: &GroupView, now: Timestamp) -> Markup {
    html! {
        section {
            div.head {
                h2 { (group.name) }
                (badges(group))
            }
            @if let Some(reason) = &group.damaged {
                p.alarm {
                    strong { "The stored value cannot be used: " } (reason)
                    ". See docs/operations.md, “A damaged value”."
                }
            } @else if let Some(lock) = &group.lock {
                (slots(lock))
                (holders(lock, &group.name))
            } @else {
                p.quiet { "Not known yet: the store has not answered." }
            }
            (waiting(group, now))
            @if let Some(text) = &group.windows.text {
                p.quiet { "Reboot windows: " (text) }
            }
            @if let Some(act) = group.acts.first() {
                p.quiet {
                    "Last by hand: " (act.by) " has " (act.action.to_string())
                    ", " time title=(utc(act.at)) { (age(act.at, now)) " ago" }
                }
            }
        }
    }
}

fn badges(group: &GroupView) -> Markup {
    let paused = group.lock.as_ref().is_some_and(|lock| lock.paused);
    html! {
        @if paused {
            span.badge.warn { "paused" }
        } @else if !group.windows.open {
            span.badge.warn { "outside reboot windows" }
        }
        @if let Some(lock) = &group.lock && !paused && lock.slots != group.configured_slots {
            span.badge.warn { (lock.slots) " slots, configured are " (group.configured_slots) }
        }
    }
}

/// A picture of the places: filled ones first.
fn slots(lock: &LockView) -> Markup {
    let held = lock.holders.len() as u64;
    let drawn = held.max(lock.slots).min(DRAWN_SLOTS);
    let words = match lock.slots {
        0 => format!("{held} held, no new ones while paused"),
        slots => format!("{held} of {slots} held"),
    };
    html! {
        div.slots {
            @for place in 0..drawn {
                @let over = place >= lock.slots;
                span.slot.held[place < held].over[over] aria-hidden="true" {}
            }
            span.words { (words) }
        }
    }
}

fn holders(lock: &LockView, group: &str) -> Markup {
    html! {
        @if lock.holders.is_empty() {
            p.quiet { "Nobody holds a slot." }
        } @else {
            table {
                thead { tr { th { "Holder" } th.when { "Since" } } }
                tbody {
                    @for holder in &lock.holders {
                        tr {
                            td.id { (holder.id) }
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
                summary { "A node does not come back?" }
                p { "Make sure that it is down or back, then free its slot:" }
                code { (unlock(group, &lock.holders[0].id)) }
            }
        }
    }
}

fn waiting(group: &GroupView, now: Timestamp) -> Markup {
    let more = group.waiting_count.saturating_sub(group.waiting.len());
    html! {
        @if group.waiting_count > 0 {
            table.waiting {
                thead {
                    tr {
                        th { "Waiting (" (group.waiting_count) ")" }
                        th.when { "For" }
                    }
                }
                tbody {
                    @for waiter in &group.waiting {
                        (waiting_row(waiter, now))
                    }
                    @if more > 0 {
                        tr { td colspan="2" { "and " (more) " more" } }
                    }
                }
            }
        }
    }
}

fn waiting_row(waiter: &WaiterView, now: Timestamp) -> Markup {
    let asked = if waiter.times == 1 {
        "asked once"
    } else {
        "asked"
    };
    html! {
        tr {
            td.id { (waiter.id) }
            td.when {
                strong { (age(waiter.first_asked, now)) } " "
                small {
                    (waiter.why) ", " (asked)
                    @if waiter.times > 1 { " " (waiter.times) " times" }
                    ", last " (age(waiter.last_asked, now)) " ago"
                }
            }
        }
    }
}

/// As the alert AirlockLockHeldTooLong sees it.
fn is_old(age_seconds: Option<i64>) -> bool {
    age_seconds.is_some_and(|seconds| seconds > 3600)
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The command that frees a slot. What nodes call themselves is no option of it.
fn unlock(group: &str, id: &str) -> String {
    let is_like_an_option = [group, id].iter().any(|word| word.starts_with('-'));
    let end_of_options = if is_like_an_option { "-- " } else { "" };
    format!(
        "airlock unlock {end_of_options}{} {}",
        shell(group),
        shell(id)
    )
}

/// One word of a command line.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
