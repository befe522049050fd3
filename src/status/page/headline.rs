//! The headline and the title: the worst problem of all, or that nothing needs attention.

use super::context::Page;
use super::parts::{capitalized, count, group_id, section_id};
use crate::lock::NodeId;
use crate::status::policy::icon;
use crate::status::view::{
    Condition, DenialView, GroupView, Problem, ServerView, StoreView, hold_age,
};
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
    /// What screen readers announce when it changes: the problem without an age.
    pub(super) announcement: String,
    /// The address of the part of the page that has more, and the text of the link.
    pub(super) link: Option<(String, &'static str)>,
    /// The group that the problem is about.
    pub(super) group: Option<&'a String>,
}

/// A problem in words: its name for the title, a sentence, what else is known, and where the page has more.
struct Words<'a> {
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

    /// Returns the address of the icon that tells it in a browser tab.
    pub(super) fn icon(self) -> String {
        icon(match self {
            Severity::Good => "#1a7f4b",
            Severity::Warning => "#d18b00",
            Severity::Bad => "#c9302c",
        })
    }
}

// === impl Headline ===

impl<'a> Headline<'a> {
    pub(super) fn new(page: &Page<'a>) -> Self {
        let groups = page.groups.iter().filter(|group| group.needs_attention);
        let attention = groups.count();
        let problems = page.view.problems();
        let Some(problem) = problems.first().map(|problem| words(page, problem)) else {
            return Headline {
                severity: Severity::Good,
                title: format!("Airlock: {}", page.summary().trim_end_matches('.')),
                problem: "Nothing needs attention.".into(),
                text: String::new(),
                announcement: "Nothing needs attention.".into(),
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
            announcement: format!("{}.{others}", problem.name),
            problem: problem.sentence,
            text: format!("{}{others}", problem.text),
            link,
            group,
        }
    }
}

fn words<'a>(page: &Page<'a>, problem: &Problem<'a>) -> Words<'a> {
    let warning = |name: &str, sentence: &str, place| Words {
        severity: Severity::Warning,
        name: name.into(),
        sentence: sentence.into(),
        text: String::new(),
        place,
    };
    let servers = Place::Section("servers");
    match problem {
        Problem::Store(store) => of_store(store),
        Problem::Group(group) if group.state == Condition::Overdue => overdue(group),
        Problem::Group(group) => of_group(group),
        Problem::Rejected { latest, clients } => rejected(page, latest, *clients),
        Problem::NoServer => warning(
            "no server published",
            "No running server has published itself in the store.",
            servers,
        ),
        Problem::ConfigurationsDiffer(differing) => warning(
            "configurations differ",
            &format!("The configuration of {} differs.", names(differing)),
            servers,
        ),
        Problem::Lost(lost) => {
            let last = lost.iter().filter_map(|server| server.last_seen).max();
            let last = last.map(|at| format!(", last seen {} ago", age(at, page.view.now)));
            let are = if lost.len() == 1 { "is" } else { "are" };
            let last = last.unwrap_or_default();
            let sentence = format!("{} {are} not running{last}.", names(lost));
            warning("server lost", &sentence, servers)
        }
        Problem::ServersUnknown => warning(
            "other servers not known",
            "The other servers, and the nodes that wait at them, are not known.",
            servers,
        ),
        Problem::NotReloaded => warning(
            "configuration not reloaded",
            "The configuration file was not reloaded.",
            Place::Here,
        ),
        Problem::Notices => warning(
            "warning about the store",
            "No group needs attention, but the store does.",
            Place::Here,
        ),
    }
}

fn names(servers: &[&ServerView]) -> String {
    let names: Vec<&str> = servers.iter().map(|server| &*server.label).collect();
    names.join(" and ")
}

fn of_store<'a>(store: &StoreView) -> Words<'a> {
    let (name, sentence, text) = match () {
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
    Words {
        severity: Severity::Bad,
        name: name.into(),
        sentence: sentence.into(),
        text: text.into(),
        place: Place::Here,
    }
}

/// Describes a group that needs attention.
fn of_group(group: &GroupView) -> Words<'_> {
    let (severity, text) = match group.state {
        Condition::Damaged => (Severity::Bad, "All its requests are denied."),
        Condition::Stalled
        | Condition::Failing
        | Condition::CapUnusable
        | Condition::GateFailed => (Severity::Bad, ""),
        _ => (Severity::Warning, ""),
    };
    let state = group.state.as_str();
    Words {
        severity,
        name: format!("{}: {state}", group.name),
        sentence: format!("{}: {state}, {}.", group.name, group.detail()),
        text: format!("{text}{}", waiting(group)),
        place: Place::Group(group),
    }
}

fn waiting(group: &GroupView) -> String {
    match group.waiting_nodes() {
        0 => String::new(),
        number => format!(" {}{}.", group.at_least(), count(number, "node", "waiting")),
    }
}

/// Describes the longest of the overdue holds of a group.
fn overdue(group: &GroupView) -> Words<'_> {
    let (slot, oldest) = match &group.lock {
        Some(lock) if lock.slots == 1 => ("the only slot", lock.holders.first()),
        lock => (
            "a slot",
            lock.as_ref().and_then(|lock| lock.holders.first()),
        ),
    };
    let sentence = match oldest {
        Some(holder) => {
            let node = shortened(holder.node(), NodeId::MAX_BYTES);
            let age = hold_age(holder, group);
            format!("{}: {node} has held {slot} for {age}.", group.name)
        }
        None => group.detail().to_owned(),
    };
    Words {
        severity: Severity::Bad,
        name: format!("{}: overdue", group.name),
        sentence,
        text: waiting(group).trim_start().to_owned(),
        place: Place::Group(group),
    }
}

fn rejected<'a>(page: &Page<'_>, latest: &DenialView, clients: usize) -> Words<'a> {
    let more = page.view.more_denials;
    let at_least = if more { "at least " } else { "" };
    let number = match clients {
        1 => "1 client is rejected".into(),
        _ => format!("{clients} clients are rejected"),
    };
    let sentence = format!("{at_least}{number}.");
    Words {
        severity: Severity::Bad,
        name: "clients rejected".into(),
        sentence: capitalized(&sentence),
        text: format!("For example: {}, {}.", latest.node(), latest.text()),
        place: Place::Section("rejected"),
    }
}
