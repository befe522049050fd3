//! What the page contains in each state.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::context::Page;
use super::headline::Headline;
use super::render;
use crate::fleet::GateState;
use crate::lock::codec::{Revision, Stored};
use crate::lock::holders::Hold;
use crate::lock::policy::Conditions;
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::names::NodeNames;
use crate::status::runbook;
use crate::status::view::{
    BlockView, CalendarLine, Condition, DenialView, GateServerView, GateView, GroupFacts,
    GroupView, ServerView, SharedPolicies, StatusView, StoreView,
};

fn view() -> StatusView {
    StatusView {
        version: "1.0.0",
        host: "ops-1".into(),
        now: Timestamp::UNIX_EPOCH,
        needs_attention: false,
        reload_problem: None,
        store: StoreView::working("file airlock.db".into()),
        servers: Some(vec![server("ops-1")]),
        groups: Vec::new(),
        gates: Vec::new(),
        caps: Vec::new(),
        denials: Vec::new(),
        more_denials: false,
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

fn denial(reason: &str) -> DenialView {
    DenialView {
        server: "ops-1".into(),
        reason: reason.into(),
        peer: [192, 0, 2, 1].into(),
        group: None,
        id: None,
        name: None,
        detail: None,
        first: Timestamp::UNIX_EPOCH,
        last: None,
        times: None,
        repeated: false,
        needs_attention: reason == "wrong_password",
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
    expect(
        &|view| view.reload_problem = Some("the file was not reloaded".into()),
        "(!) configuration not reloaded - Airlock",
        "The configuration file was not reloaded.",
    );
    let lost = |view: &mut StatusView| {
        let last_seen = Some(view.now - SignedDuration::from_mins(5));
        let lost = ServerView {
            alive: false,
            last_seen,
            ..server("ops-2")
        };
        view.servers = Some(vec![server("ops-1"), lost]);
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
    expect(
        // A scanner is not a problem.
        &|view| view.denials = vec![denial("not_found"), denial("wrong_password")],
        "(!) clients rejected - Airlock",
        "1 client is rejected. For example: 192.0.2.1, wrong user or password.",
    );
    expect(
        &|view| view.store.up = false,
        "(!) store not known yet - Airlock",
        "The store has not been reached yet. Nothing is known about the groups until it replies.",
    );
}

/// Returns a group with a holder, to which all conditions apply that need attention.
fn troubled() -> GroupView {
    let semaphore = Semaphore {
        holders: [("node".into(), Hold::default())].into_iter().collect(),
        ..Semaphore::new(1)
    };
    let state = GroupState {
        semaphore: Ok(semaphore.into()),
        ..GroupState::new(Stored::absent(Revision::ABSENT), 1)
    };
    let facts = GroupFacts {
        name: &GroupName::new("workers").unwrap(),
        configured_slots: Some(1),
        state: Some(&state),
        settings: None,
        conditions: Conditions::default(),
        policies: &SharedPolicies::default(),
        max_calendar: 0,
        waiting: None,
        denials: &[],
        names: &NodeNames::default(),
    };
    GroupView {
        conditions: vec![
            Condition::Damaged,
            Condition::Stalled,
            Condition::Overdue,
            Condition::RejectedClients,
            Condition::Failing,
            Condition::CapUnusable,
            Condition::GateFailed,
            Condition::Unknown,
            Condition::SlotsDiffer,
            Condition::ForeignWriter,
            Condition::Paused,
            Condition::NotConfigured,
            Condition::Closed,
            Condition::Overridden,
        ],
        ..facts.view(Timestamp::UNIX_EPOCH)
    }
}

#[test]
fn every_section_of_the_runbook_to_which_the_page_refers_exists() {
    let runbook = runbook::render();
    let mut view = view();
    view.groups.push(troubled());
    view.denials.push(denial("wrong_password"));
    let lost = ServerView {
        alive: false,
        configuration_differs: true,
        ..server("ops-2")
    };
    view.servers = Some(vec![lost]);
    view.store.problem = Some("it is full".into());
    view.store.writable = false;
    let mut page = render(&view, Path::new("config.toml"));
    view.servers = None;
    view.store.up = false;
    page += &render(&view, Path::new("config.toml"));

    let links = page.split("href=\"/runbook#").skip(1);
    let mut anchors: Vec<&str> = links.map(|rest| rest.split('"').next().unwrap()).collect();
    anchors.sort_unstable();
    anchors.dedup();
    for anchor in &anchors {
        let heading = format!(" id=\"{anchor}\"");
        assert!(runbook.contains(&heading), "{anchor} is no heading");
    }
    assert_eq!(anchors.len(), 17, "{anchors:?}");
}

#[test]
fn gates_caps_and_reasons_are_shown_and_their_texts_escaped() {
    let mut view = view();
    let server = |server: &str, state, reason: Option<&str>| GateServerView {
        server: server.into(),
        state,
        reason: reason.map(str::to_owned),
        since: None,
        age_seconds: Some(7),
    };
    let closed = server("ops-1", GateState::Closed, Some("<b>\u{202e}\n</b>"));
    let open = server("ops-2", GateState::Open, None);
    view.gates = vec![
        GateView::of("agreed", &["workers"], vec![open.clone()]),
        GateView::of("disputed", &["workers"], vec![closed, open]),
        GateView::of("unasked", &[], Vec::new()),
    ];
    view.groups.push(GroupView {
        blocked: Some(vec![BlockView {
            reason: "frozen",
            text: "frozen (<b>year-end</b>)".into(),
            until: Some(Timestamp::UNIX_EPOCH),
        }]),
        calendar: vec![CalendarLine {
            is_freeze: true,
            is_now: true,
            from: "Mon".into(),
            until: "Tue".into(),
            reason: Some("<b>year-end</b>".into()),
        }],
        ..troubled()
    });
    let page = render(&view, Path::new("config.toml"));
    for expected in [
        "agreed</th>",
        "disputed at ops-1</th>",
        "&lt;b&gt;\\u202e\n&lt;/b&gt;</td>",
        "disputed at ops-2</th>",
        "unasked</th>",
        "7 s ago",
        "frozen (&lt;b&gt;year-end&lt;/b&gt;) <time",
        "frozen now <span class=\"quiet\">(&lt;b&gt;year-end&lt;/b&gt;)</span>",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("<b>year-end"), "{page}");
}
