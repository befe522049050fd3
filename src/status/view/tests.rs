//! What the policies of a group look like in its view.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::json;

use super::gates::GateServerView;
use super::*;
use crate::config::{self, CapSettings, GroupSettings};
use crate::fleet::GateState;
use crate::lock::codec::{DecodeError, Revision, Stored};
use crate::lock::holders::Hold;
use crate::lock::policy::{Conditions, Stall};
use crate::lock::semaphore::Semaphore;
use crate::lock::window::{Freeze, Freezes};
use crate::lock::{GroupName, GroupState};

const NODE: &str = "2204af7f41984cb19b8cde4edc06c142";

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(60 * minute).unwrap()
}

fn name(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// The group `workers` with 2 slots, an hour after the beginning of time.
struct Scene {
    settings: GroupSettings,
    semaphore: Semaphore,
    policies: SharedPolicies,
    caps: Vec<CapSettings>,
    /// The other groups.
    others: BTreeMap<GroupName, GroupState>,
}

impl Scene {
    fn new() -> Self {
        Scene {
            settings: GroupSettings {
                slots: 2,
                ..GroupSettings::default()
            },
            semaphore: Semaphore::new(2),
            policies: SharedPolicies::default(),
            caps: Vec::new(),
            others: BTreeMap::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Scene)) -> GroupView {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.view()
    }

    fn view(mut self) -> GroupView {
        let state = state(Ok(self.semaphore.into()));
        let workers = name("workers");
        let states = |group: &GroupName| match *group == workers {
            true => Some(&state),
            false => self.others.get(group),
        };
        let caps = self.caps.iter();
        self.policies.caps = caps.map(|cap| CapUsage::new(cap, states)).collect();
        let stall = self.settings.stall_after.map(|after| Stall {
            after,
            first_seen: Arc::new([("seen".into(), minute(20))].into()),
        });
        let caps = self.caps.iter().filter_map(|cap| cap.for_group(&workers));
        let facts = GroupFacts {
            name: &workers,
            configured_slots: Some(2),
            state: Some(&state),
            conditions: Conditions {
                stall,
                settle: self.settings.settle,
                caps: caps
                    .map(|cap| cap.view(|group| states(group)?.held()))
                    .collect(),
            },
            settings: Some(&self.settings),
            policies: &self.policies,
            max_calendar: 10,
            waiting: None,
            denials: &[],
            names: &NodeNames::default(),
        };
        facts.view(minute(60))
    }

    fn lock(&mut self, id: &str, since: Option<Timestamp>) {
        let hold = Hold {
            since,
            ..Hold::default()
        };
        self.semaphore.holders.insert(id.into(), hold);
    }

    /// Adds a cap on one of the zones.
    fn cap(&mut self, zones: &[(&str, Result<u64, DecodeError>)]) {
        for (zone, held) in zones {
            let semaphore = held.clone().map(|held| {
                let mut semaphore = Semaphore::new(5);
                for id in 0..held {
                    let id = id.to_string().into();
                    semaphore.holders.insert(id, Hold::default());
                }
                semaphore.into()
            });
            self.others.insert(name(zone), state(semaphore));
        }
        self.caps.push(CapSettings {
            name: "zones".into(),
            groups: self
                .others
                .keys()
                .cloned()
                .chain([name("workers")])
                .collect(),
            max_held: None,
            max_groups: Some(1),
        });
    }

    /// Adds a gate with these states at the servers `ops-0`, `ops-1` and so on.
    fn gate(&mut self, gate: &str, states: &[GateState]) {
        let server = |(number, state): (usize, &GateState)| GateServerView {
            server: format!("ops-{number}"),
            state: *state,
            reason: (*state != GateState::Open).then(|| format!("{state:?}")),
            since: None,
            age_seconds: None,
        };
        let servers = states.iter().enumerate().map(server).collect();
        let gate = GateView::of(gate, &["workers"], servers);
        self.policies.gates.push(gate);
    }
}

fn state(semaphore: Result<Arc<Semaphore>, DecodeError>) -> GroupState {
    GroupState {
        semaphore,
        ..GroupState::new(Stored::absent(Revision::ABSENT), 2)
    }
}

/// Returns the first condition, whether it needs attention, and its detail.
fn shown(view: &GroupView) -> (Condition, bool, &str) {
    (view.state, view.needs_attention, view.detail())
}

fn reasons(view: &GroupView) -> Vec<&str> {
    let blocked = view.blocked.iter().flatten();
    blocked.map(|reason| reason.reason).collect()
}

#[test]
fn a_stalled_group_names_the_holder_and_the_command_that_unlocks_it() {
    let stalled = |id: &'static str, since| {
        Scene::with(|scene| {
            scene.settings.stall_after = Some(SignedDuration::from_mins(30));
            scene.lock(id, since);
        })
    };
    let view = stalled(NODE, Some(minute(20)));
    assert_eq!(
        shown(&view),
        (
            Condition::Stalled,
            true,
            "2204af7f41984cb19b8cde4edc06c142 has held a slot for 40 min, since 1970-01-01T00:20:00Z; the limit is 30 min"
        )
    );
    let remedy = view.remedy(view.state, Path::new(config::DEFAULT_PATH));
    assert_eq!(remedy.unwrap(), format!("airlock unlock workers {NODE}"));
    assert_eq!(reasons(&view), ["group_stalled"]);
    let first_seen = stalled("seen", None);
    assert_eq!(
        first_seen.detail(),
        "seen holds a slot that was first seen 40 min ago, at 1970-01-01T00:20:00Z; the limit is 30 min"
    );
    assert_eq!(stalled(NODE, Some(minute(31))).state, Condition::Rebooting);
}

#[test]
fn a_frozen_group_needs_no_attention_and_has_a_calendar() {
    let view = Scene::with(|scene| {
        scene.settings.freezes = Freezes(vec![Freeze {
            from: minute(0),
            until: minute(120),
            zone: TimeZone::UTC,
            reason: Some("year-end".into()),
        }]);
    });
    assert_eq!(
        shown(&view),
        (
            Condition::Frozen,
            false,
            "until Thu 1970-01-01 02:00 UTC (year-end), in 1 h"
        )
    );
    let blocked = serde_json::to_value(&view.blocked).unwrap();
    assert_eq!(
        blocked,
        json!([{
            "reason": "frozen",
            "text": "frozen until Thu 1970-01-01 02:00 UTC (year-end), in 1 h",
            "until": "1970-01-01T02:00:00Z",
        }])
    );
    let lines = view.calendar.iter();
    let lines: Vec<_> = lines.map(|line| (line.is_freeze, line.is_now)).collect();
    assert_eq!(lines, [(true, true), (false, false)]);
}

#[test]
fn a_settling_group_tells_until_when() {
    let view = Scene::with(|scene| {
        scene.settings.settle = Some(SignedDuration::from_mins(15));
        scene.semaphore.released_at = Some(minute(55));
    });
    assert_eq!(
        shown(&view),
        (
            Condition::Settling,
            false,
            "until 1970-01-01T01:10:00Z, for 10 min"
        )
    );
    assert_eq!(view.blocked.unwrap()[0].until, Some(minute(70)));
}

#[test]
fn a_cap_tells_which_groups_use_it_up() {
    let view = Scene::with(|scene| scene.cap(&[("zone-a", Ok(1)), ("zone-b", Ok(0))]));
    assert_eq!(
        shown(&view),
        (
            Condition::CapReached,
            false,
            "cap zones reached: 1 of at most 1 group with holders (zone-a)"
        )
    );
    let free = Scene::with(|scene| scene.cap(&[("zone-a", Ok(0))]));
    assert_eq!(free.state, Condition::Free);
    assert_eq!(reasons(&free), [""; 0]);
}

#[test]
fn a_cap_that_cannot_be_evaluated_needs_attention() {
    let damaged = DecodeError::Empty;
    let view = Scene::with(|scene| scene.cap(&[("zone-a", Err(damaged))]));
    assert_eq!(
        shown(&view),
        (
            Condition::CapUnusable,
            true,
            "cap zones cannot be evaluated: the value of group zone-a is damaged or not known"
        )
    );
    let remedy = view.remedy(view.state, Path::new(config::DEFAULT_PATH));
    assert_eq!(remedy.unwrap(), "airlock get slots zone-a");
}

#[test]
fn a_closed_gate_needs_no_attention_and_a_failed_one_does() {
    use GateState::{Closed, Failed, Open, Unknown};
    for (states, expected) in [
        (
            &[Open, Open][..],
            (Condition::Free, false, "no reboot recorded"),
        ),
        (
            &[Closed, Closed],
            (Condition::GateClosed, false, "gate db closed: Closed"),
        ),
        (
            &[Open, Closed],
            (
                Condition::GateClosed,
                false,
                "gate db closed: Closed (at ops-1)",
            ),
        ),
        (
            &[Open, Closed, Failed],
            (Condition::GateFailed, true, "gate db: Failed (at ops-2)"),
        ),
        // A server that has just started.
        (
            &[Open, Unknown],
            (Condition::Free, false, "no reboot recorded"),
        ),
        (
            &[Unknown],
            (Condition::GateClosed, false, "gate db closed: Unknown"),
        ),
        // No server runs.
        (&[], (Condition::Free, false, "no reboot recorded")),
    ] {
        let view = Scene::with(|scene| {
            scene.gate("another", &[Open]);
            scene.gate("db", states);
        });
        assert_eq!(shown(&view), expected, "{states:?}");
    }
}

#[test]
fn of_several_gates_one_that_has_failed_is_told() {
    let view = Scene::with(|scene| {
        scene.gate("a", &[GateState::Closed]);
        scene.gate("b", &[GateState::Failed]);
        scene.gate("c", &[GateState::Closed]);
    });
    assert_eq!(
        shown(&view),
        (Condition::GateFailed, true, "gate b: Failed")
    );
    assert_eq!(view.blocked.unwrap()[0].text, "gate b closed: Failed");
}

#[test]
fn an_override_ends_windows_freezes_and_gates() {
    let overridden = |state| {
        Scene::with(|scene| {
            scene.settings.freezes = Freezes(vec![Freeze {
                from: minute(0),
                until: minute(120),
                zone: TimeZone::UTC,
                reason: None,
            }]);
            scene.gate("db", &[state]);
            scene.semaphore.override_until = Some(minute(90));
        })
    };
    let view = overridden(GateState::Closed);
    assert_eq!(
        shown(&view),
        (
            Condition::Overridden,
            false,
            "windows, freezes and gates until 1970-01-01T01:30:00Z, for 30 min"
        )
    );
    assert_eq!(reasons(&view), [""; 0]);
    assert_eq!(view.override_until, Some(minute(90)));
    // The gate is not asked, so that locks are granted although it fails.
    let view = overridden(GateState::Failed);
    assert_eq!(view.state, Condition::Overridden);
}

#[test]
fn a_writer_that_does_not_know_caps_needs_attention() {
    let view = Scene::with(|scene| {
        scene.cap(&[("zone-a", Ok(0))]);
        scene.policies.foreign_writes.insert("workers".into());
    });
    assert_eq!(
        shown(&view),
        (
            Condition::ForeignWriter,
            true,
            "another program writes a group of the cap zones"
        )
    );
}

#[test]
fn all_reasons_are_told_in_the_order_of_the_replies_to_nodes() {
    let view = Scene::with(|scene| {
        scene.settings.stall_after = Some(SignedDuration::from_mins(30));
        scene.settings.settle = Some(SignedDuration::from_mins(15));
        scene.settings.freezes = Freezes(vec![Freeze {
            from: minute(0),
            until: minute(120),
            zone: TimeZone::UTC,
            reason: None,
        }]);
        scene.semaphore.released_at = Some(minute(55));
        scene.lock(NODE, Some(minute(0)));
        scene.lock("other", Some(minute(59)));
        scene.gate("db", &[GateState::Closed]);
        scene.cap(&[("zone-a", Err(DecodeError::Empty))]);
    });
    assert_eq!(
        reasons(&view),
        [
            "group_stalled",
            "frozen",
            "gate_closed",
            "cap_reached",
            "full",
            "settling"
        ]
    );
    assert_eq!(
        view.conditions,
        [
            Condition::Stalled,
            Condition::CapUnusable,
            Condition::Frozen,
            Condition::GateClosed,
            Condition::Settling,
            Condition::Full
        ]
    );
}

#[test]
fn a_group_without_policies_has_no_new_fields() {
    let view = Scene::with(|scene| scene.lock(NODE, Some(minute(59))));
    let json = serde_json::to_value(&view).unwrap();
    for field in ["blocked", "override_until"] {
        assert!(json.get(field).is_none(), "{field}");
    }
}
