//! What has happened in a group: its last completed holds, and administrators' commands.

use maud::{Markup, html};

use super::context::Page;
use super::parts::{ago, head, node};
use crate::status::view::{CompletedHoldView, GroupView};
use crate::text::duration::seconds;
use crate::text::escape::shortened;

/// The number of completed holds that are shown.
const HOLDS: usize = 5;

/// The number of administrators' commands that are shown.
const ENTRIES: usize = 3;

/// The maximum number of characters of an administrator's command: it may name ids of any length.
const MAX_ACTION: usize = 1_000;

/// Renders the past of a group.
pub(super) fn tables(page: &Page<'_>, group: &GroupView) -> Markup {
    html! {
        @if !group.history.is_empty() {
            table {
                caption { "Last reboots" }
                (head(&["Node", "Held for", "Until", "Released by"]))
                tbody {
                    @if group.history_has_gap { (gap()) }
                    @for hold in group.history.iter().take(HOLDS) {
                        (hold_row(page, hold))
                        @if hold.after_gap { (gap()) }
                    }
                }
            }
        }
        @if !group.audit_log.is_empty() {
            table {
                caption { "Administrators' commands" }
                (head(&["Administrator", "Command", "When"]))
                tbody {
                    @for entry in group.audit_log.iter().take(ENTRIES) {
                        tr {
                            th scope="row" { (entry.by) }
                            td { (shortened(&entry.action.to_string(), MAX_ACTION)) }
                            td.when { (ago(entry.at, page.view.now)) }
                        }
                    }
                }
            }
        }
    }
}

fn hold_row(page: &Page<'_>, hold: &CompletedHoldView) -> Markup {
    html! {
        tr {
            th scope="row" { (node(hold.name.as_deref(), hold.peer, &hold.id)) }
            td.when { @match hold.held_seconds { Some(held) => { (seconds(held)) } None => { "unknown" } } }
            td.when { (ago(hold.until, page.view.now)) }
            td { @match &hold.by { Some(by) => { (by) } None => { "the node" } } }
        }
    }
}

/// Marks a place in the history, the latest hold first, where holds may be missing.
fn gap() -> Markup {
    html! {
        tr { td.quiet colspan="4" { "Another program has changed the group here; holds may be missing." } }
    }
}
