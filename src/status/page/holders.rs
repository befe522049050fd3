//! The holders of a group, each with the command that unlocks it.

use maud::{Markup, html};

use super::context::Page;
use super::parts::{command, head, node, runbook, timestamp};
use crate::config::command_line;
use crate::lock::NodeId;
use crate::status::view::{Condition, GroupView, HolderView, MAX_LISTED};
use crate::text::escape::shortened;

/// The number of holders that are shown at once, the oldest locks. The others are in a list of their own.
const SHOWN: usize = 8;

/// Renders the holders of a group.
pub(super) fn table(page: &Page<'_>, group: &GroupView) -> Markup {
    let Some(lock) = &group.lock else {
        return Markup::default();
    };
    let holders = &lock.holders[..lock.holders.len().min(MAX_LISTED)];
    let (first, others) = holders.split_at(holders.len().min(SHOWN));
    let left = lock.holders.len() - holders.len();
    html! {
        @if first.is_empty() {
            p { "No node holds a slot." }
        } @else {
            (rows(page, group, first, "Holders"))
        }
        @if !others.is_empty() {
            details.more data-key="holders" {
                summary { (lock.holders.len() - first.len()) " more holders" }
                (rows(page, group, others, "More holders"))
                @if left > 0 { p.quiet { "and " (left) " more" } }
            }
        }
        @if !first.is_empty() && !matches!(group.state, Condition::Stalled | Condition::Overdue) {
            p.quiet { "Unlock a node only if it is down for good, or already back. " (runbook("Release the slot of a dead node")) }
        }
    }
}

fn rows(page: &Page<'_>, group: &GroupView, holders: &[HolderView], caption: &str) -> Markup {
    html! {
        table {
            caption {
                (caption)
                @if let Some(at) = page.view.store.unavailable_since { " as of " (timestamp(at)) }
            }
            (head(&["Node", "Since", "Release by hand"]))
            tbody {
                @for holder in holders {
                    tr data-key=(shortened(&holder.id, NodeId::MAX_BYTES)) {
                        th scope="row" { (node(holder.name.as_deref(), holder.peer, &holder.id)) }
                        td.when {
                            @match (&holder.age, holder.since) {
                                (Some(age), Some(since)) => {
                                    b.old[holder.overdue] { (age) } br; (timestamp(since))
                                }
                                _ => { "unknown" }
                            }
                        }
                        td { (command(&command_line(page.config, "unlock", &[&group.name, &holder.id]))) }
                    }
                }
            }
        }
    }
}
