//! The servers of the fleet.

use maud::{Markup, html};

use super::parts::{ago, head, runbook, section_id};
use crate::status::view::{ServerView, StatusView};
use crate::text::duration::age;
use crate::text::escape::shortened;

/// The number of characters of a digest that are shown.
const MAX_DIGEST: usize = 8;

/// Renders the servers.
pub(super) fn section(view: &StatusView) -> Markup {
    html! {
        section data-key="servers" aria-labelledby=(section_id("servers")) {
            h2 id=(section_id("servers")) { "Servers" }
            div.list.flat {
                @match &view.servers {
                    None => p.quiet {
                        "The other servers are not known yet: the store has not replied about them. "
                        (runbook("The servers do not know each other"))
                    },
                    Some(servers) => (table(view, servers)),
                }
            }
        }
    }
}

fn table(view: &StatusView, servers: &[ServerView]) -> Markup {
    html! {
        table aria-labelledby=(section_id("servers")) {
            (head(&["Host", "Version", "Configuration", "Running for", "Last seen"]))
            tbody {
                @for server in servers {
                    tr {
                        th scope="row" { (server.host) ":" (server.port) @if server.this { " (this one)" } }
                        td data-label="version" { (server.version) }
                        td data-label="configuration" {
                            span.id { (shortened(&server.configuration, MAX_DIGEST)) }
                            @if server.configuration_differs { " " span.chip.warn { "differs" } }
                        }
                        td.when data-label="running for" { @if server.alive { (age(server.started, view.now)) } }
                        td.when data-label="last seen" { (last_seen(view, server)) }
                    }
                }
            }
        }
        @if servers.iter().any(|server| !server.alive) { p.quiet { (runbook("A server is down or lost")) } }
        @if servers.iter().any(|server| server.configuration_differs) {
            p.quiet { (runbook("The configurations of the servers differ")) }
        }
    }
}

fn last_seen(view: &StatusView, server: &ServerView) -> Markup {
    html! {
        @if server.alive && let Some(at) = view.store.unavailable_since && !server.this {
            (age(at, view.now)) " ago, before the store became unavailable"
        } @else if server.alive {
            "now"
        } @else {
            span.chip.bad { "lost" } " "
            @match server.last_seen {
                Some(at) => { (ago(at, view.now)) }
                None => { "at an unknown time" }
            }
        }
    }
}
