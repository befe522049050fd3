//! docs/policies.md: each recipe is a valid configuration, and its queries tell a healthy service from any other one.

use std::fs;
use std::process::Command;

use airlock_test_support::pki::Ca;
use airlock_test_support::repository;
use serde_json::json;
use toml::{Table, Value};

use crate::check_config::{Config, EMBEDDED};

/// The series of services that are in order.
const HEALTHY: &[(&str, &str)] = &[
    (r#"patroni_primary{scope="main", name="a"}"#, "1x20"),
    (r#"patroni_primary{scope="main", name="b"}"#, "0x20"),
    (r#"patroni_primary{scope="main", name="c"}"#, "0x20"),
    (r#"patroni_replica{scope="main", name="a"}"#, "0x20"),
    (r#"patroni_replica{scope="main", name="b"}"#, "1x20"),
    (r#"patroni_replica{scope="main", name="c"}"#, "1x20"),
    (
        r#"patroni_postgres_streaming{scope="main", name="a"}"#,
        "0x20",
    ),
    (
        r#"patroni_postgres_streaming{scope="main", name="b"}"#,
        "1x20",
    ),
    (
        r#"patroni_postgres_streaming{scope="main", name="c"}"#,
        "1x20",
    ),
    (
        r#"patroni_cluster_unlocked{scope="main", name="a"}"#,
        "0x20",
    ),
    (r#"patroni_is_paused{scope="main", name="a"}"#, "0x20"),
    (
        r#"patroni_xlog_location{scope="main", name="a"}"#,
        "9000000000x20",
    ),
    (r#"patroni_xlog_location{scope="main", name="b"}"#, "0x20"),
    (
        r#"patroni_xlog_replayed_location{scope="main", name="a"}"#,
        "0x20",
    ),
    (
        r#"patroni_xlog_replayed_location{scope="main", name="b"}"#,
        "8999000000x20",
    ),
    (r#"up{job="etcd", instance="a"}"#, "1x20"),
    (r#"up{job="etcd", instance="b"}"#, "1x20"),
    (r#"up{job="etcd", instance="c"}"#, "1x20"),
    (
        r#"etcd_server_has_leader{job="etcd", instance="a"}"#,
        "1x20",
    ),
    (
        r#"etcd_server_has_leader{job="etcd", instance="b"}"#,
        "1x20",
    ),
    (
        r#"etcd_server_has_leader{job="etcd", instance="c"}"#,
        "1x20",
    ),
    (
        r#"etcd_server_proposals_committed_total{job="etcd", instance="a"}"#,
        "50100x20",
    ),
    (
        r#"etcd_server_proposals_applied_total{job="etcd", instance="b"}"#,
        "50000x20",
    ),
    ("ceph_health_status", "1x20"),
    (r#"ceph_mon_quorum_status{ceph_daemon="mon.a"}"#, "1x20"),
    (r#"ceph_osd_up{ceph_daemon="osd.1"}"#, "1x20"),
    (r#"ceph_osd_in{ceph_daemon="osd.1"}"#, "1x20"),
    (r#"ceph_osd_up{ceph_daemon="osd.2"}"#, "0x20"),
    (r#"ceph_osd_in{ceph_daemon="osd.2"}"#, "0x20"),
    (r#"ceph_pg_degraded{pool_id="1"}"#, "0x20"),
    (r#"ceph_pg_undersized{pool_id="1"}"#, "0x20"),
    (r#"ceph_pg_total{pool_id="1"}"#, "128x20"),
    (r#"ceph_pg_active{pool_id="1"}"#, "128x20"),
    (
        r#"kube_node_status_condition{condition="Ready", status="true", node="a"}"#,
        "1x20",
    ),
    (
        r#"kube_node_status_condition{condition="Ready", status="true", node="b"}"#,
        "1x20",
    ),
    (
        r#"kube_node_status_condition{condition="Ready", status="true", node="c"}"#,
        "1x20",
    ),
    (
        r#"kube_node_status_condition{condition="Ready", status="true", node="worker"}"#,
        "0x20",
    ),
    (
        r#"kube_node_role{role="control-plane", node="a", instance="1"}"#,
        "1x20",
    ),
    (
        r#"kube_node_role{role="control-plane", node="a", instance="2"}"#,
        "1x20",
    ),
    (r#"kube_node_role{role="control-plane", node="b"}"#, "1x20"),
    (r#"kube_node_role{role="control-plane", node="c"}"#, "1x20"),
    (
        r#"etcd_server_has_leader{job="kube-etcd", instance="a"}"#,
        "1x20",
    ),
    (
        r#"etcd_server_has_leader{job="kube-etcd", instance="b"}"#,
        "1x20",
    ),
    (
        r#"etcd_server_has_leader{job="kube-etcd", instance="c"}"#,
        "1x20",
    ),
    (
        r#"http_requests_total{job="web", code="200"}"#,
        "0+10000x20",
    ),
    (r#"up{job="web", zone="a", instance="1"}"#, "1x20"),
    (r#"up{job="web", zone="a", instance="2"}"#, "1x20"),
    (r#"up{job="web", zone="a", instance="3"}"#, "0x20"),
    (r#"up{job="web", zone="b", instance="4"}"#, "1x20"),
    (r#"up{job="web", zone="c", instance="5"}"#, "1x20"),
];

/// What closes a gate: its name, a series, and other values of it; `_` for none.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "patroni",
        r#"patroni_primary{scope="main", name="a"}"#,
        "0x20",
    ),
    (
        "patroni",
        r#"patroni_primary{scope="main", name="b"}"#,
        "1x20",
    ),
    (
        "patroni",
        r#"patroni_cluster_unlocked{scope="main", name="a"}"#,
        "1x20",
    ),
    (
        "patroni",
        r#"patroni_is_paused{scope="main", name="a"}"#,
        "1x20",
    ),
    (
        "patroni",
        r#"patroni_postgres_streaming{scope="main", name="c"}"#,
        "0x20",
    ),
    (
        "patroni",
        r#"patroni_replica{scope="main", name="c"}"#,
        "_x20",
    ),
    (
        "patroni",
        r#"patroni_xlog_replayed_location{scope="main", name="b"}"#,
        "8000000000x20",
    ),
    ("etcd", r#"up{job="etcd", instance="a"}"#, "0x20"),
    ("etcd", r#"up{job="etcd", instance="a"}"#, "_x20"),
    (
        "etcd",
        r#"etcd_server_has_leader{job="etcd", instance="b"}"#,
        "0x20",
    ),
    (
        "etcd",
        r#"etcd_server_proposals_applied_total{job="etcd", instance="b"}"#,
        "40000x20",
    ),
    ("ceph", "ceph_health_status", "2x20"),
    (
        "ceph",
        r#"ceph_mon_quorum_status{ceph_daemon="mon.a"}"#,
        "0x20",
    ),
    ("ceph", r#"ceph_osd_up{ceph_daemon="osd.1"}"#, "0x20"),
    ("ceph", r#"ceph_osd_in{ceph_daemon="osd.2"}"#, "1x20"),
    ("ceph", r#"ceph_pg_degraded{pool_id="1"}"#, "1x20"),
    ("ceph", r#"ceph_pg_degraded{pool_id="1"}"#, "_x20"),
    ("ceph", r#"ceph_pg_undersized{pool_id="1"}"#, "1x20"),
    ("ceph", r#"ceph_pg_active{pool_id="1"}"#, "127x20"),
    (
        "control-planes-ready",
        r#"kube_node_status_condition{condition="Ready", status="true", node="b"}"#,
        "0x20",
    ),
    (
        "control-planes-ready",
        r#"kube_node_role{role="control-plane", node="b"}"#,
        "_x20",
    ),
    (
        "control-planes-ready",
        r#"etcd_server_has_leader{job="kube-etcd", instance="c"}"#,
        "0x20",
    ),
    (
        "web",
        r#"http_requests_total{job="web", code="503"}"#,
        "0+500x20",
    ),
    (
        "web",
        r#"http_requests_total{job="web", code="200"}"#,
        "_x20",
    ),
    ("web", r#"up{job="web", zone="a", instance="2"}"#, "0x20"),
    ("web", r#"up{job="web", zone="c", instance="5"}"#, "_x20"),
];

/// The series without which a gate is closed: its name, and their start.
const UNKNOWN: &[(&str, &str)] = &[
    ("patroni", "patroni_primary{"),
    ("etcd", r#"up{job="etcd""#),
    ("etcd", r#"etcd_server_has_leader{job="etcd""#),
    ("ceph", "ceph_health_status"),
    ("ceph", "ceph_pg_degraded"),
    ("control-planes-ready", "kube_node_status_condition{"),
    ("control-planes-ready", "kube_node_role{"),
    (
        "control-planes-ready",
        r#"etcd_server_has_leader{job="kube-etcd""#,
    ),
    ("web", "http_requests_total{"),
    ("web", r#"up{job="web""#),
];

fn recipes() -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/policies.md")).unwrap();
    let blocks = text.split("```toml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    let blocks: Vec<String> = blocks.collect();
    assert!(blocks.len() > 5, "{blocks:?}");
    blocks
}

/// Returns the names and the queries of all gates that ask Prometheus.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for recipe in recipes() {
        let recipe: Table = recipe.parse().unwrap();
        let lock = recipe["lock"].as_table().unwrap();
        let groups = lock["groups"].as_array().unwrap().iter();
        let tables = groups.map(|group| group.as_table().unwrap()).chain([lock]);
        let gates = tables.filter_map(|table| table.get("gates")?.as_array());
        for gate in gates.flatten() {
            let text = |key: &str| gate.get(key).and_then(Value::as_str).map(str::to_owned);
            queries.extend(text("query").map(|query| (text("name").unwrap(), query)));
        }
    }
    queries
}

#[test]
fn each_recipe_is_a_configuration_without_errors_and_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("kubernetes-ca.pem");
    fs::copy(Ca::new("kubernetes").path(), &ca).unwrap();
    let here = format!("{}/", folder.path().display());
    for recipe in recipes() {
        let recipe = recipe.replace("/etc/airlock/", &here);
        let config = Config::new(&format!("[service]\ntls = false\n{EMBEDDED}{recipe}"));
        config.check(0, &["--strict"]);
    }
}

#[test]
fn each_query_opens_its_gate_for_a_healthy_service_only() {
    let queries = queries();
    let mut tests = Vec::new();
    for (gate, query) in &queries {
        tests.push(test(query, HEALTHY, true));
        tests.push(test(query, &[], false));
        let faults = FAULTS.iter().filter(|(name, ..)| name == gate);
        for (_, faulty, values) in faults {
            let others = HEALTHY.iter().filter(|(series, _)| series != faulty);
            let series: Vec<_> = others.copied().chain([(*faulty, *values)]).collect();
            tests.push(test(query, &series, false));
        }
        for (_, unknown) in UNKNOWN.iter().filter(|(name, _)| name == gate) {
            let others = HEALTHY.iter().copied();
            let others: Vec<_> = others
                .filter(|(series, _)| !series.starts_with(unknown))
                .collect();
            assert!(others.len() < HEALTHY.len(), "{unknown}");
            tests.push(test(query, &others, false));
        }
    }
    let named = FAULTS.iter().map(|(gate, ..)| gate);
    for gate in named.chain(UNKNOWN.iter().map(|(gate, _)| gate)) {
        assert!(queries.iter().any(|(name, _)| name == gate), "{gate}");
    }
    let file = json!({ "evaluation_interval": "1m", "tests": tests });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipes.test.yml");
    fs::write(&path, file.to_string()).unwrap();
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(path)
        .output()
        .expect("promtool cannot be started; `make setup` installs what is missing");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
}

/// Returns a test of promtool: whether the result of the query is empty.
fn test(query: &str, series: &[(&str, &str)], is_empty: bool) -> serde_json::Value {
    let series = series
        .iter()
        .map(|(series, values)| json!({ "series": series, "values": values }));
    let samples = match is_empty {
        true => json!([]),
        false => json!([{ "labels": "{}", "value": 1 }]),
    };
    json!({
        "interval": "1m",
        "input_series": series.collect::<Vec<_>>(),
        "promql_expr_test": [{
            "expr": format!("group({query})"),
            "eval_time": "15m",
            "exp_samples": samples,
        }],
    })
}
