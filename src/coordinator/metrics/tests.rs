//! The gauges of groups and caps, without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::sync::watch;

use super::*;
use crate::config::{GateSettings, GateTarget, GroupSettings};
use crate::gate::{GateMetrics, Gates};
use crate::group::{Group, GroupMetrics, Policies};
use crate::lock::GroupName;
use crate::lock::codec::{self, Revision, Stored, Value};
use crate::lock::history::History;
use crate::lock::holders::Hold;
use crate::lock::semaphore::Semaphore;
use crate::lock::window::{Freeze, Freezes, Window, Windows};
use crate::store::Update;
use crate::store::memory::MemoryStore;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn group_name(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn group(name: &str) -> ConfiguredGroup {
    let metrics = GroupMetrics::register(&Registry::new()).unwrap();
    let store: Arc<MemoryStore> = Arc::default();
    let name = group_name(name);
    let metrics = metrics.of(&name);
    let (group, _) = Group::new(name, 1, 1, store, metrics);
    ConfiguredGroup {
        group,
        settings: GroupSettings {
            slots: 1,
            ..GroupSettings::default()
        },
        gates: Arc::default(),
    }
}

fn state(groups: &[&str]) -> Arc<ServerState> {
    let groups = groups.iter().map(|name| (group_name(name), group(name)));
    Arc::new(ServerState::of(groups.collect()))
}

/// Has the group know a semaphore with these holders, since these times.
fn observe(group: &ConfiguredGroup, revision: i64, change: impl FnOnce(&mut Semaphore)) {
    let mut semaphore = Semaphore::new(3);
    change(&mut semaphore);
    let value = codec::encode(&semaphore, &[], &History::default());
    observe_value(group, revision, value);
}

fn observe_value(group: &ConfiguredGroup, revision: i64, value: Value) {
    let stored = Stored::written(value, Revision(revision));
    group.group.observe(Update::Current(stored));
}

fn hold(semaphore: &mut Semaphore, id: &str, since: Timestamp) {
    let hold = Hold {
        since: Some(since),
        ..Hold::default()
    };
    semaphore.holders.insert(id.into(), hold);
}

/// Returns the lines of these families that a scrape with a state has, sorted.
fn scrape(state: &ServerState, families: &[&str]) -> Vec<String> {
    let (_sender, receiver) = watch::channel(Arc::new(state.clone()));
    let collector = GroupCollector::new(StateReceiver::new(receiver)).unwrap();
    let mut text = Vec::new();
    let found = collector.collect();
    TextEncoder::new().encode(&found, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let of_family = |line: &&str| families.contains(&line.split('{').next().unwrap());
    let mut lines: Vec<_> = text.lines().filter(of_family).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Returns the groups with at least one gauge.
fn scraped(collector: &GroupCollector) -> BTreeSet<String> {
    let families = collector.collect();
    let metrics = families.iter().flat_map(MetricFamily::get_metric);
    let labels = metrics.flat_map(|metric| metric.get_label());
    labels.map(|label| label.value().to_owned()).collect()
}

#[test]
fn a_scrape_with_the_state_before_a_reload_leaves_no_gauge_of_a_removed_group() {
    let before = state(&["kept", "removed"]);
    // The state of a scrape that has started before the reload and ends after it.
    let (_sender, old) = watch::channel(Arc::clone(&before));
    let (sender, current) = watch::channel(before);
    let mut collector = GroupCollector::new(StateReceiver::new(current)).unwrap();
    sender.send_replace(state(&["kept"]));
    let current = std::mem::replace(&mut collector.state, StateReceiver::new(old));
    assert_eq!(
        scraped(&collector),
        ["kept", "removed"].map(str::to_owned).into()
    );
    collector.state = current;
    assert_eq!(scraped(&collector), ["kept"].map(str::to_owned).into());
}

/// A window of one minute that opens in three days.
fn distant_window(now: Timestamp) -> Windows {
    let day = now.to_zoned_datetime(TimeZone::UTC).date() + 3.days();
    Windows(vec![Window {
        days: vec![day.weekday()],
        weeks: Vec::new(),
        start: Time::midnight(),
        minutes: 1,
        zone: TimeZone::UTC,
    }])
}

fn freeze(from: Timestamp, until: Timestamp) -> Freezes {
    Freezes(vec![Freeze {
        from,
        until,
        zone: TimeZone::UTC,
        reason: None,
    }])
}

/// Returns a gate that has not answered yet, and counts as closed.
fn closed_gate() -> GateSettings {
    GateSettings {
        name: "a".into(),
        target: GateTarget::Http("http://127.0.0.1:9/".parse().unwrap()),
        timeout: std::time::Duration::from_secs(1),
        max_age: std::time::Duration::from_secs(1),
        allows: 1,
        open_after_successes: 1,
        ca_cert_path: None,
        client_cert: None,
        credentials: None,
    }
}

fn cap(groups: &[&str], max_held: Option<u64>, max_groups: Option<u64>) -> CapSettings {
    CapSettings {
        name: "c".into(),
        groups: groups.iter().map(|name| group_name(name)).collect(),
        max_held,
        max_groups,
    }
}

#[tokio::test]
async fn a_group_is_blocked_by_the_policies_that_it_has_while_they_refuse_new_locks() {
    let now = Timestamp::now();
    let (mut blocked, other) = (group("blocked"), group("other"));
    let gate = Arc::new(closed_gate());
    let gates = Gates::new(GateMetrics::register(&Registry::new()).unwrap());
    gates.replace([&gate].into_iter());
    blocked.gates = gates.of(&[Arc::clone(&gate)]);
    blocked.settings.stall_after = Some(MINUTE);
    blocked.settings.settle = Some(MINUTE);
    blocked.settings.windows = distant_window(now);
    blocked.settings.freezes = freeze(now - 2 * MINUTE, now - MINUTE);
    let cap = cap(&["blocked", "other"], Some(1), None);
    blocked.group.set_policies(Policies {
        stall_after: blocked.settings.stall_after,
        settle: blocked.settings.settle,
        caps: vec![cap.for_group(&group_name("blocked")).unwrap()],
        has_gates: true,
        others: [(group_name("other"), other.group.as_other())].into(),
    });
    observe(&other, 1, |_| {});
    observe(&blocked, 1, |semaphore| {
        hold(semaphore, "a", now - 10 * MINUTE);
        semaphore.released_at = Some(now);
    });
    let groups: BTreeMap<_, _> = [("blocked", &blocked), ("other", &other)]
        .map(|(name, group)| (group_name(name), group.clone()))
        .into();
    let mut state = ServerState::of(groups);
    let families = [
        "airlock_group_blocked",
        "airlock_group_override_until_timestamp_seconds",
    ];
    let series = |reason: &str, value: u64| {
        format!("airlock_group_blocked{{group=\"blocked\",reason=\"{reason}\"}} {value}")
    };
    assert_eq!(
        scrape(&state, &families),
        [
            series("cap_reached", 1),
            series("frozen", 0),
            series("gate_closed", 1),
            series("group_stalled", 1),
            series("outside_reboot_window", 1),
            series("settling", 1),
        ]
    );
    // An override ends what it is for.
    let until = Timestamp::from_second(now.as_second() + 3600).unwrap();
    observe(&blocked, 2, |semaphore| {
        semaphore.override_until = Some(until)
    });
    let seconds = until.as_second();
    assert_eq!(
        scrape(&state, &families),
        [
            series("cap_reached", 0),
            series("frozen", 0),
            series("gate_closed", 0),
            series("group_stalled", 0),
            series("outside_reboot_window", 0),
            series("settling", 0),
            format!(
                "airlock_group_override_until_timestamp_seconds{{group=\"blocked\"}} {seconds}"
            ),
        ]
    );
    // A freeze takes precedence over windows.
    let frozen = state.groups.get_mut("blocked").unwrap();
    frozen.settings.freezes = freeze(now - MINUTE, now + MINUTE);
    observe(&blocked, 3, |_| {});
    let scraped = scrape(&state, &families);
    assert!(scraped.contains(&series("frozen", 1)), "{scraped:?}");
    assert!(
        scraped.contains(&series("outside_reboot_window", 0)),
        "{scraped:?}"
    );
    // Nothing is known about a damaged group.
    observe_value(
        &blocked,
        4,
        Value {
            semaphore: b"{}".to_vec(),
            lock_times: codec::LockTimes::Absent,
        },
    );
    assert_eq!(scrape(&state, &families), Vec::<String>::new());
}

#[test]
fn neither_a_full_group_nor_a_paused_one_without_policies_is_blocked() {
    let (full, paused) = (group("full"), group("paused"));
    observe(&full, 1, |semaphore| {
        semaphore.slots = 1;
        hold(semaphore, "a", Timestamp::now());
    });
    observe(&paused, 1, |semaphore| semaphore.slots = 0);
    let groups = [("full", full), ("paused", paused)];
    let groups = groups.map(|(name, group)| (group_name(name), group));
    let state = ServerState::of(groups.into());
    let families = ["airlock_group_blocked", "airlock_group_paused"];
    assert_eq!(
        scrape(&state, &families),
        [
            "airlock_group_paused{group=\"full\"} 0",
            "airlock_group_paused{group=\"paused\"} 1",
        ]
    );
}

#[test]
fn a_cap_has_a_series_for_each_of_its_limits_as_far_as_all_its_groups_are_known() {
    let groups = ["a", "b", "c"].map(|name| (group_name(name), group(name)));
    let mut state = ServerState::of(groups.into());
    state.caps = vec![cap(&["a", "b", "c"], Some(5), Some(2))];
    let families = ["airlock_cap_held", "airlock_cap_max"];
    let max = [
        "airlock_cap_max{cap=\"c\",limit=\"groups\"} 2",
        "airlock_cap_max{cap=\"c\",limit=\"held\"} 5",
    ];
    observe(&state.groups["a"], 1, |_| {});
    observe(&state.groups["b"], 1, |semaphore| {
        hold(semaphore, "x", Timestamp::now());
        hold(semaphore, "y", Timestamp::now());
    });
    assert_eq!(scrape(&state, &families), max);
    observe(&state.groups["c"], 1, |semaphore| {
        hold(semaphore, "z", Timestamp::now());
    });
    let held = [
        "airlock_cap_held{cap=\"c\",limit=\"groups\"} 2",
        "airlock_cap_held{cap=\"c\",limit=\"held\"} 3",
    ];
    assert_eq!(scrape(&state, &families), [held, max].concat());
    state.caps = vec![cap(&["a", "b"], None, Some(1))];
    assert_eq!(
        scrape(&state, &families),
        [
            "airlock_cap_held{cap=\"c\",limit=\"groups\"} 1",
            "airlock_cap_max{cap=\"c\",limit=\"groups\"} 1",
        ]
    );
}
