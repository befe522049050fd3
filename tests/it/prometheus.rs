//! The alerts and the dashboard of contrib/ with a real Prometheus, a real server and a real etcd.

use std::process::Command;

use serde_json::Value;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::prometheus::{Prometheus, contrib};

#[test]
fn promtool_passes_the_tests_of_every_alert() {
    let output = Command::new("promtool")
        .args(["test", "rules", "airlock.test.yml"])
        .current_dir(contrib("prometheus"))
        .output()
        .expect("promtool cannot be started; `make setup` installs what is missing");
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
    let tests = std::fs::read_to_string(contrib("prometheus/airlock.test.yml")).unwrap();
    for (alert, _) in rules() {
        assert!(
            tests.contains(&format!("alertname: {alert}\n")),
            "no test of {alert}"
        );
    }
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_returns_data() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    assert!(!client.lock("default", "b").granted());
    let prometheus = Prometheus::start(&[airlock.status_url().replace("http://", "")]);
    for query in panel_queries() {
        // A rate needs two scrapes with a change between them.
        eventually(&query, || {
            client.lock("default", "a");
            client.lock("default", "b");
            let result = prometheus.query(&query);
            let number = |row: &Value| row["value"][1].as_str().unwrap().parse::<f64>().unwrap();
            (result.iter().any(|row| number(row).is_finite())).then_some(())
        });
    }
    for (alert, expression) in rules() {
        // No alert fires, so the test queries each series of its expression.
        let metrics = metrics_in(&expression);
        assert!(!metrics.is_empty(), "{alert}");
        for metric in metrics {
            // Without TLS this series does not exist.
            if metric != "airlock_tls_certificate_expiry_timestamp_seconds" {
                assert!(!prometheus.query(&metric).is_empty(), "{alert}: {metric}");
            }
        }
        assert!(prometheus.query(&expression).is_empty(), "{alert} fires");
    }
}

/// Returns the queries of all panels, with the variables of Grafana replaced.
fn panel_queries() -> Vec<String> {
    let text = std::fs::read_to_string(contrib("grafana/airlock.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    let filled = queries.map(|query| {
        query
            .replace("$__rate_interval", "30s")
            .replace("$group", ".*")
    });
    let filled: Vec<String> = filled.collect();
    assert!(filled.len() > 16, "{filled:?}");
    filled
}

/// Returns the name and the expression of each alert. Relies on the simple form of the file.
fn rules() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(contrib("prometheus/airlock.rules.yml")).unwrap();
    let rules = text.split("- alert: ").skip(1);
    let rules: Vec<_> = rules
        .map(|rule| {
            let (name, rest) = rule.split_once('\n').unwrap();
            let after = rest.split_once("expr:").unwrap().1;
            let end = after
                .find("\n        for:")
                .or(after.find("\n        labels:"));
            let expression = after[..end.unwrap()].trim().trim_start_matches('|');
            (name.to_owned(), expression.trim().to_owned())
        })
        .collect();
    assert_eq!(rules.len(), text.matches("expr:").count());
    rules
}

fn metrics_in(expression: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_word(c));
    words
        .filter(|word| word.starts_with("airlock_") || *word == "up")
        .map(str::to_owned)
        .collect()
}
