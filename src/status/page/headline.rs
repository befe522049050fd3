//! The headline and the title: the worst problem of all, or that nothing needs attention.

use super::context::Page;
use super::parts::{count, group_id, section_id};
use crate::lock::NodeId;
use crate::status::view::{Condition, GroupView, HolderView, ServerView, hold_age};
use crate::text::duration::age;
use crate::text::escape::shortened;

/// How bad the worst problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Good,
    Warning,
    Bad,
}

/// What matters most.
pub(super) struct Headline<'a> {
    pub(super) severity: Severity,
    /// The title of the page.
    pub(super) title: String,
    /// The problem in a sentence.
    pub(super) problem: String,
    /// What else is known about it.
    pub(super) text: String,
    /// The address of the part of the page that has more, and the text of the link.
    pub(super) link: Option<(String, &'static str)>,
    /// The group that the problem is about.
    pub(super) group: Option<&'a String>,
}

/// A problem, its name for the title, and where the page has more.
struct Problem<'a> {
    severity: Severity,
    name: String,
    sentence: String,
    text: String,
    place: Place<'a>,
}

enum Place<'a> {
    Here,
    Group(&'a GroupView),
    Section(&'static str),
}

// === impl Severity ===

impl Severity {
    /// Returns the name of the class that has its color.
    pub(super) fn class(self) -> &'static str {
        match self {
            Severity::Good => "ok",
            Severity::Warning => "warn",
            Severity::Bad => "bad",
        }
    }
}

// === impl Headline ===

impl<'a> Headline<'a> {
    pub(super) fn new(page: &Page<'a>) -> Self {
        let groups = page.groups.iter().filter(|group| group.needs_attention);
        let attention = groups.count();
        let Some(problem) = worst(page) else {
            return Headline {
                severity: Severity::Good,
                title: format!("Airlock: {}", page.summary().trim_end_matches('.')),
                problem: "Nothing needs attention.".into(),
                text: String::new(),
                link: None,
                group: None,
            };
        };
        let (link, group) = match problem.place {
            Place::Here => (None, None),
            Place::Group(group) => (
                Some((format!("#{}", group_id(&group.name)), "What to do")),
                Some(&group.name),
            ),
            Place::Section(name) => (Some((format!("#{}", section_id(name)), "Details")), None),
        };
        let others = attention - usize::from(group.is_some());
        let others = match (others, group) {
            (0, _) => String::new(),
            (1, None) => " 1 group needs attention.".into(),
            (others, None) => format!(" {others} groups need attention."),
            (1, Some(_)) => " 1 more group needs attention.".into(),
            (others, Some(_)) => format!(" {others} more groups need attention."),
        };
        let mark = match attention {
            0 => "!".to_owned(),
            number => number.to_string(),
        };
        Headline {
            severity: problem.severity,
            title: format!("({mark}) {} - Airlock", problem.name),
            problem: problem.sentence,
            text: format!("{}{others}", problem.text),
            link,
            group,
        }
    }
}

/// Returns the worst problem.
fn worst<'a>(page: &Page<'a>) -> Option<Problem<'a>> {
    let group = |state| {
        let mut groups = page.groups.iter();
        groups
            .find(|group| group.needs_attention && group.state == state)
            .map(|group| of_group(group))
    };
    store(page)
        .or_else(|| group(Condition::Damaged))
        .or_else(|| overdue(page))
        .or_else(|| rejected(page))
        .or_else(|| servers(page))
        .or_else(|| group(Condition::Unknown))
        .or_else(|| group(Condition::SlotsDiffer))
        .or_else(|| group(Condition::Paused))
        .or_else(|| notice(page))
}

fn store<'a>(page: &Page<'a>) -> Option<Problem<'a>> {
    let store = &page.view.store;
    let (name, sentence, text) = match () {
        () if store.up && store.writable => return None,
        () if store.up => (
            "store refuses writes",
            "The store refuses writes.",
            "No lock is granted until it accepts them again.",
        ),
        () if store.unavailable_since.is_none() => (
            "store not known yet",
            "The store has not been reached yet.",
            "Nothing is known about the groups until it replies.",
        ),
        () => (
            "store unavailable",
            "The store is unavailable.",
            "Requests are denied until it replies again.",
        ),
    };
    Some(Problem {
        severity: Severity::Bad,
        name: name.into(),
        sentence: sentence.into(),
        text: text.into(),
        place: Place::Here,
    })
}

/// Returns the problem of a group that needs attention.
fn of_group(group: &GroupView) -> Problem<'_> {
    let (severity, text) = match group.state {
        Condition::Damaged => (Severity::Bad, "All its requests are denied."),
        _ => (Severity::Warning, ""),
    };
    let state = group.state.as_str();
    Problem {
        severity,
        name: format!("{}: {state}", group.name),
        sentence: format!("{}: {state}, {}.", group.name, group.detail),
        text: format!("{text}{}", waiting(group)),
        place: Place::Group(group),
    }
}

fn waiting(group: &GroupView) -> String {
    let at_least = if group.more_may_wait { "at least " } else { "" };
    match group.waiting_nodes() {
        0 => String::new(),
        number => format!(" {at_least}{}.", count(number, "node", "waiting")),
    }
}

/// Returns the longest of the overdue holds.
fn overdue<'a>(page: &Page<'a>) -> Option<Problem<'a>> {
    let holds = page.groups.iter().filter_map(|group| {
        let holders = &group.lock.as_ref()?.holders;
        let oldest = holders.iter().find(|holder| holder.overdue)?;
        Some((*group, oldest))
    });
    let (group, holder) = holds.max_by_key(|(_, holder): &(_, &HolderView)| holder.age_seconds)?;
    let node = shortened(holder.node(), NodeId::MAX_BYTES);
    let slot = match &group.lock {
        Some(lock) if lock.slots == 1 => "the only slot",
        _ => "a slot",
    };
    Some(Problem {
        severity: Severity::Bad,
        name: format!("{}: overdue", group.name),
        sentence: format!(
            "{}: {node} has held {slot} for {}.",
            group.name,
            hold_age(holder, group)
        ),
        text: waiting(group).trim_start().to_owned(),
        place: Place::Group(group),
    })
}

fn rejected<'a>(page: &Page<'a>) -> Option<Problem<'a>> {
    let nodes = || {
        let denials = page.view.denials.iter();
        denials.filter(|client| client.concerns_nodes())
    };
    let (latest, number) = (nodes().next()?, nodes().count());
    Some(Problem {
        severity: Severity::Bad,
        name: "clients rejected".into(),
        sentence: match number {
            1 => "1 client is rejected.".into(),
            _ => format!("{number} clients are rejected."),
        },
        text: format!("The latest: {}, {}.", latest.peer, latest.text()),
        place: Place::Section("rejected"),
    })
}

fn servers<'a>(page: &Page<'a>) -> Option<Problem<'a>> {
    let servers = page.view.servers.iter().flatten();
    let hosts = |matches: fn(&ServerView) -> bool| -> Vec<&str> {
        let servers = servers.clone().filter(|server| matches(server));
        servers.map(|server| &*server.host).collect()
    };
    let lost = hosts(|server| !server.alive);
    let differing = hosts(|server| server.configuration_differs);
    let (name, sentence) = match () {
        () if !differing.is_empty() => (
            "configurations differ",
            format!("The configuration of {} differs.", differing.join(" and ")),
        ),
        () if !lost.is_empty() => {
            let last = servers.clone().filter_map(|server| server.last_seen).max();
            let last = last.map(|at| format!(", last seen {} ago", age(at, page.view.now)));
            (
                "server lost",
                format!(
                    "{} {} not running{}.",
                    lost.join(" and "),
                    if lost.len() == 1 { "is" } else { "are" },
                    last.unwrap_or_default()
                ),
            )
        }
        () => return None,
    };
    Some(Problem {
        severity: Severity::Warning,
        name: name.into(),
        sentence,
        text: String::new(),
        place: Place::Section("servers"),
    })
}

fn notice<'a>(page: &Page<'a>) -> Option<Problem<'a>> {
    let notices = page.view.store.notices.len();
    (notices > 0).then(|| Problem {
        severity: Severity::Warning,
        name: "warning about the store".into(),
        sentence: "No group needs attention, but the store does.".into(),
        text: String::new(),
        place: Place::Here,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::status::view::{DenialView, StatusView, StoreView};

    fn view() -> StatusView {
        StatusView {
            version: "1.0.0",
            host: "ops-1".into(),
            now: Timestamp::UNIX_EPOCH,
            store: StoreView {
                up: true,
                writable: true,
                unavailable_since: None,
                problem: None,
                notices: Vec::new(),
            },
            servers: Some(Vec::new()),
            groups: Vec::new(),
            denials: Vec::new(),
        }
    }

    fn server(host: &str) -> ServerView {
        ServerView {
            label: host.into(),
            host: host.into(),
            port: 3333,
            this: false,
            version: "1.0.0".into(),
            started: Timestamp::UNIX_EPOCH,
            alive: true,
            last_seen: None,
            configuration: String::new(),
            configuration_differs: false,
        }
    }

    /// Returns the title and the headline.
    fn shown(view: &StatusView) -> (String, String) {
        let page = Page::new(view, Path::new("config.toml"));
        let headline = Headline::new(&page);
        let text = format!("{} {}", headline.problem, headline.text);
        (headline.title, text.trim_end().into())
    }

    #[test]
    fn each_problem_hides_the_lesser_ones() {
        let mut view = view();
        let mut expect = |change: &dyn Fn(&mut StatusView), title: &str, text: &str| {
            change(&mut view);
            assert_eq!(shown(&view), (title.to_owned(), text.to_owned()));
        };
        expect(
            &|_| {},
            "Airlock: no slots held, no nodes waiting",
            "Nothing needs attention.",
        );
        expect(
            &|view| view.store.notices.push("notice".into()),
            "(!) warning about the store - Airlock",
            "No group needs attention, but the store does.",
        );
        let lost = |view: &mut StatusView| {
            let last_seen = Some(view.now - SignedDuration::from_mins(5));
            let lost = ServerView {
                alive: false,
                last_seen,
                ..server("ops-2")
            };
            view.servers = Some(vec![lost]);
        };
        expect(
            &lost,
            "(!) server lost - Airlock",
            "ops-2 is not running, last seen 5 min ago.",
        );
        let differing = |view: &mut StatusView| {
            let differing = ServerView {
                configuration_differs: true,
                ..server("ops-3")
            };
            view.servers
                .iter_mut()
                .for_each(|servers| servers.push(differing.clone()));
        };
        expect(
            &differing,
            "(!) configurations differ - Airlock",
            "The configuration of ops-3 differs.",
        );
        let rejected = |reason: &str| DenialView {
            server: "ops-1".into(),
            reason: reason.into(),
            peer: [192, 0, 2, 1].into(),
            group: None,
            id: None,
            detail: None,
            first: Timestamp::UNIX_EPOCH,
            last: None,
            times: None,
        };
        expect(
            // A scanner is not a problem.
            &|view| view.denials = vec![rejected("not_found"), rejected("wrong_password")],
            "(!) clients rejected - Airlock",
            "1 client is rejected. The latest: 192.0.2.1, wrong user or password.",
        );
        expect(
            &|view| view.store.up = false,
            "(!) store not known yet - Airlock",
            "The store has not been reached yet. Nothing is known about the groups until it replies.",
        );
    }
}
