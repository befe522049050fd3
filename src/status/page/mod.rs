//! The page for operators: what needs attention, each group with its holders and waiting nodes, and the servers.
//!
//! It is complete without scripts. The script adds a filter, buttons that copy commands, local times, and a refresh in
//! place. The page refers to no other site. maud escapes all text for HTML, and [`render`] escapes what is invisible or
//! changes the direction of the text.

mod context;
mod headline;
mod holders;
mod parts;
mod past;
mod policies;
mod rejected;
mod row;
mod servers;
#[cfg(test)]
mod tests;
mod waiting;

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::policy::{SCRIPT, STYLE};
use super::runbook::PATH as RUNBOOK;
use super::view::{GroupView, StatusView};
use crate::text::duration::age;
use crate::text::escape::printable_lines;
use context::Page;
use headline::{Headline, Severity};
use parts::{capitalized, runbook, section_id, time_of_day, timestamp};

/// The interval in seconds at which the page is refreshed. The script has it too.
const REFRESH_SECONDS: u32 = 10;

/// Renders the page, with commands that use the configuration `config`.
pub(super) fn render(view: &StatusView, config: &Path) -> String {
    let page = Page::new(view, config);
    printable_lines(&page.html().into_string()).into_owned()
}

// === impl Page ===

impl Page<'_> {
    fn html(&self) -> Markup {
        let headline = Headline::new(self);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    noscript { meta http-equiv="refresh" content=(REFRESH_SECONDS); }
                    title { (headline.title) }
                    link rel="icon" href=(headline.severity.icon()) data-bad=(Severity::Bad.icon());
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (self.header())
                    main.dim[!self.view.store.up] {
                        (self.alarm(&headline))
                        (self.filter())
                        (self.list(&headline))
                        (policies::gates(self.view))
                        (policies::caps(self.view))
                        (rejected::section(&self.view.denials, self.view.more_denials, self.view.now))
                        (servers::section(self.view))
                    }
                    (self.footer())
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
    }

    fn header(&self) -> Markup {
        let store = &self.view.store;
        let (class, text) = match () {
            () if store.up && store.writable => ("ok", "store available"),
            () if store.up => ("bad", "store refuses writes"),
            () if store.unavailable_since.is_none() => ("warn", "store not known yet"),
            () => ("bad", "store unavailable"),
        };
        html! {
            header {
                h1 { "Airlock" }
                span.chip.(class) { (text) }
                p.meta {
                    (store.location)
                    @if let Some(etcd) = &store.etcd {
                        @if let Some(id) = &etcd.cluster_id { ", cluster " (id) }
                        ", " (etcd.replied) " of " (etcd.configured) " endpoints reply"
                    }
                    " · " (self.view.host) ", version " (self.view.version)
                    " · " (time_of_day(self.view.now))
                    " · refreshed every " (REFRESH_SECONDS) " s · "
                    a href="/v1/status" { "JSON" } " · " a href="/metrics" { "metrics" }
                    " · " a href=(RUNBOOK) { "runbook" }
                }
            }
        }
    }

    /// Renders what matters most, and the facts that concern all groups.
    fn alarm(&self, headline: &Headline) -> Markup {
        let store = &self.view.store;
        html! {
            // Only a change of the problem is announced, not that of an age.
            p.hidden role="status" { (headline.announcement) }
            p.headline.(headline.severity.class()) {
                b { (headline.problem) } " " (headline.text)
                @if let Some((target, text)) = &headline.link { " " a href=(target) { (text) } }
            }
            // The script reports here that it could not refresh the page.
            output.note data-key="note" hidden {}
            @if let Some(problem) = &store.problem {
                p.notice {
                    (sentence(problem)) " "
                    @if !store.up && let Some(since) = store.unavailable_since {
                        "The holders and their ages below are as of " (timestamp(since)) ", "
                        (age(since, self.view.now)) " ago. "
                    }
                    (runbook(if store.up { "The store refuses writes" } else { "The store is unavailable" }))
                }
            }
            @if let Some(problem) = &self.view.reload_problem {
                p.notice { (sentence(problem)) " " (runbook("Reload the configuration")) }
            }
            @for notice in &store.notices { p.notice { (sentence(notice)) } }
            p.quiet { (self.summary()) }
        }
    }

    /// Renders the filter, which the script shows.
    fn filter(&self) -> Markup {
        let number = |matches: fn(&GroupView) -> bool| {
            let groups = self.groups.iter().filter(|group| matches(group));
            groups.count()
        };
        let button = |class: &str, text: &str, number: usize| html! { button type="button" value=(class) { (text) " " (number) } };
        html! {
            div.bar data-key="filter" hidden {
                input type="search" aria-label="Filter groups by name, state, node, id, or address"
                    placeholder="Filter by group, state, node, id, or address" autocomplete="off" spellcheck="false";
                (button("group", "All", self.groups.len()))
                (button("attention", "Need attention", number(|group| group.needs_attention)))
                (button("waiting", "Waiting", number(|group| group.waiting_nodes() > 0)))
                (button("closed", "Closed or paused", number(row::is_closed)))
                output {}
            }
        }
    }

    fn list(&self, headline: &Headline) -> Markup {
        html! {
            section data-key="groups" aria-labelledby=(section_id("groups")) {
                h2.hidden id=(section_id("groups")) { "Groups" }
                div.list {
                    @for group in &self.groups {
                        (row::row(self, group, headline.group == Some(&group.name)))
                    }
                }
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            footer {
                p.quiet {
                    (timestamp(self.view.now)) " on " (self.view.host) ", Airlock " (self.view.version) ". "
                    (runbook("Nothing is updating"))
                }
            }
        }
    }
}

/// Makes a sentence of a message.
fn sentence(message: &str) -> String {
    format!("{}.", capitalized(message))
}
