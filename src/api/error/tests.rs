//! The full text of each reason for which a group grants no new lock, as the journal of a node shows it.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::lock::GroupName;
use crate::lock::policy::{CapReached, Stalled};
use crate::lock::window::{Freeze, Opening};

#[test]
fn an_unknown_group_is_quoted() {
    let value = |group: &str| {
        denial_text(&DenialCause::UnknownGroup {
            name: group.to_owned(),
        })
    };
    assert_eq!(value("nope"), r#"unknown group "nope""#);
    assert_eq!(value("a\"b\n"), r#"unknown group "a\"b\n""#);
}

/// Returns status, kind, and text.
fn response(block: Block) -> (u16, &'static str, String) {
    let error = ApiError::Denied(Denied {
        group: None,
        cause: DenialCause::Blocked {
            group: GroupName::new("db").unwrap(),
            block: Box::new(block),
        },
    });
    (error.status().as_u16(), error.kind(), error.value())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn opening(opens: &str) -> Option<Opening> {
    Some(Opening {
        opens: at(opens),
        closes: None,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
    })
}

fn freeze(reason: Option<&str>) -> Freeze {
    Freeze {
        from: at("2026-12-17T23:00:00Z"),
        until: at("2027-01-06T23:00:00Z"),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        reason: reason.map(Arc::from),
    }
}

fn stalled(id: &str, name: Option<&str>, is_exact: bool) -> Block {
    Block::Stalled {
        holder: Stalled {
            id: id.into(),
            since: at("2026-11-22T22:31:00.5Z"),
            is_exact,
        },
        name: name.map(Arc::from),
        after: SignedDuration::from_hours(1),
    }
}

fn cap_reached(limit: CapLimit) -> Block {
    let cap = "zones".into();
    Block::CapReached(CapReached { cap, limit })
}

#[test]
fn a_full_group_and_a_paused_one_have_the_status_of_coreos_airlock() {
    assert_eq!(
        response(Block::Full { slots: 2 }),
        (
            500,
            "failed_lock",
            "all 2 semaphore slots currently locked".into()
        )
    );
    let text = r#"an administrator has paused group "db"; no lock is granted until it is resumed"#;
    assert_eq!(
        response(Block::Paused),
        (500, "failed_lock", text.to_owned())
    );
}

#[test]
fn a_closed_window_tells_when_the_next_one_opens() {
    let text = r#"outside the reboot windows of group "db", the next one opens Sat 2026-11-28 23:30 Europe/Berlin (22:30 UTC)"#;
    let next = opening("2026-11-28T22:30:00Z");
    assert_eq!(
        response(Block::OutsideWindow { next }),
        (423, "outside_reboot_window", text.to_owned())
    );
}

#[test]
fn a_freeze_tells_its_reason_its_end_and_a_later_window() {
    let text = |reason: Option<&str>, next: &str| {
        let (status, kind, text) = response(Block::Frozen {
            freeze: freeze(reason),
            next: opening(next),
        });
        assert_eq!((status, kind), (423, "frozen"));
        text
    };
    assert_eq!(
        text(Some("year-end"), "2027-01-06T23:00:00Z"),
        r#"group "db" is frozen (year-end) until Thu 2027-01-07 00:00 Europe/Berlin (Wed 23:00 UTC)"#
    );
    assert_eq!(
        text(None, "2027-01-12T21:00:00Z"),
        "group \"db\" is frozen until Thu 2027-01-07 00:00 Europe/Berlin (Wed 23:00 UTC), the next reboot window opens \
         Tue 2027-01-12 22:00 Europe/Berlin (21:00 UTC)"
    );
}

#[test]
fn a_stalled_group_names_the_node_that_others_wait_for() {
    let end = "longer than 1 h; no lock is granted until that node reports steady-state, or an administrator unlocks it";
    assert_eq!(
        response(stalled("a", None, true)),
        (
            423,
            "group_stalled",
            format!(
                "group \"db\" is stalled: node \"a\" has held a slot since 2026-11-22T22:31:00Z, {end}"
            )
        )
    );
    let (_, _, text) = response(stalled("a\n", Some("db-7"), false));
    assert_eq!(
        text,
        format!(
            "group \"db\" is stalled: node \"db-7\" (a\\n) has held a slot since 2026-11-22T22:31:00Z or earlier, {end}"
        )
    );
}

#[test]
fn a_gate_that_is_not_open_tells_its_reason() {
    let closed = Closed {
        gate: "alerts".into(),
        reason: r#"the query has 1 series: ALERTS{alertname="Down"}"#.into(),
    };
    let text = "no lock is granted in group \"db\" until gate \"alerts\" is open: the query has 1 series: \
                ALERTS{alertname=\"Down\"}";
    assert_eq!(
        response(Block::GateClosed(closed)),
        (423, "gate_closed", text.to_owned())
    );
}

#[test]
fn a_cap_tells_its_limit_and_what_ends_the_wait() {
    let text = |limit| {
        let (status, kind, text) = response(cap_reached(limit));
        assert_eq!((status, kind), (423, "cap_reached"));
        text
    };
    assert_eq!(
        text(CapLimit::Held(2)),
        "the cap \"zones\" is reached: only 2 nodes of its groups may hold a slot at a time; group \"db\" grants a lock \
         once one of them has released its slot"
    );
    assert_eq!(
        text(CapLimit::Groups(1)),
        "the cap \"zones\" is reached: only 1 of its groups may have holders at a time; group \"db\" grants a lock once \
         the other group has none"
    );
    assert_eq!(
        text(CapLimit::Groups(2)),
        "the cap \"zones\" is reached: only 2 of its groups may have holders at a time; group \"db\" grants a lock once \
         one of the others has none"
    );
}

#[test]
fn a_cap_that_cannot_be_evaluated_names_the_group_to_repair() {
    let block = Block::CapUnusable {
        cap: "zones".into(),
        group: GroupName::new("web").unwrap(),
    };
    let text = "the cap \"zones\" of group \"db\" cannot be evaluated, because the stored value of group \"web\" cannot be \
                read or used; no lock is granted until an administrator has repaired it";
    assert_eq!(response(block), (423, "cap_reached", text.to_owned()));
}

#[test]
fn a_group_that_settles_tells_when_the_next_lock_can_be_granted() {
    let until = at("2026-11-22T22:36:00Z");
    let text = r#"a node of group "db" has just come back; the next lock can be granted at 2026-11-22T22:36:00Z"#;
    assert_eq!(
        response(Block::Settling { until }),
        (423, "settling", text.to_owned())
    );
}
