//! The alerts and the dashboard of contrib/ with a real Prometheus, a real server and a real etcd.

use std::process::Command;

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::prometheus::{Prometheus, contrib};
use airlock_test_support::{eventually, free_port};

/// A receiver of events makes the metrics of events exist; this one is never reached. The gate asks an etcd, which is in
/// order.
fn config(etcd: &Etcd) -> String {
    let endpoint = &etcd.endpoints()[0];
    format!(
        "[notify]\nurl = \"http://127.0.0.1:9/\"\n\
         [[lock.groups]]\nname = \"db\"\nslots = 2\nstall_after_minutes = 60\n\
         [[lock.groups.gates]]\nname = \"health\"\nhttp = \"{endpoint}/health\"\n\
         [[lock.groups]]\nname = \"web\"\n\
         [[lock.caps]]\nname = \"both\"\ngroups = [\"db\", \"web\"]\nmax_held = 2\nmax_groups = 1\n"
    )
}

/// The metrics without a series in the tests: there is no certificate.
const WITHOUT_SERIES: [&str; 1] = ["airlock_tls_certificate_expiry_timestamp_seconds"];

/// An alert of contrib/prometheus.
pub(crate) struct Rule {
    pub(crate) alert: String,
    pub(crate) expression: String,
    pub(crate) runbook_url: String,
}

#[test]
fn promtool_passes_the_tests_of_every_alert() {
    let output = Command::new("promtool")
        .args(["test", "rules", "airlock.test.yml", "fleets.test.yml"])
        .current_dir(contrib("prometheus"))
        .output()
        .expect("promtool cannot be started; `make setup` installs what is missing");
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
}

#[test]
fn each_alert_has_tests_in_both_directions() {
    let document = yaml("airlock.test.yml");
    let tests = document["tests"].as_vec().unwrap();
    let checks: Vec<(&str, bool)> = tests
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_vec().unwrap())
        .map(|check| {
            let expected = check["exp_alerts"].as_vec().unwrap();
            (check["alertname"].as_str().unwrap(), !expected.is_empty())
        })
        .collect();
    for rule in rules() {
        for fires in [true, false] {
            let check = (rule.alert.as_str(), fires);
            assert!(checks.contains(&check), "no test: {check:?}");
        }
    }
}

#[test]
fn alerts_keep_the_fleets_apart() {
    for Rule {
        alert, expression, ..
    } in rules()
    {
        for grouping in ["by (", "on ("] {
            for labels in expression.split(grouping).skip(1) {
                assert!(labels.starts_with("site"), "{alert}: {grouping}{labels}");
            }
        }
        assert!(!expression.contains("ignoring"), "{alert}");
        assert!(!expression.contains("without"), "{alert}");
    }
    let scrape = yaml("scrape.yml");
    let fleet = &scrape["scrape_configs"][0]["static_configs"][0];
    assert!(!fleet["labels"]["site"].is_badvalue());
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_returns_data() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), &config(&etcd));
    let client = airlock.client();
    let prometheus = Prometheus::start(&[airlock.status_url().replace("http://", "")]);
    let has_series = |query: &&String| !WITHOUT_SERIES.iter().any(|metric| query.contains(metric));
    for query in panel_queries().iter().filter(has_series) {
        // A rate needs two scrapes with a change between them.
        eventually(query, || {
            for group in ["default", "db"] {
                client.unlock(group, "a");
                client.lock(group, "a");
            }
            client.lock("default", "b");
            client.lock("not-configured", "c");
            let result = prometheus.query(query);
            let number = |row: &Value| row["value"][1].as_str().unwrap().parse::<f64>().unwrap();
            (result.iter().any(|row| number(row).is_finite())).then_some(())
        });
    }
    for Rule {
        alert, expression, ..
    } in rules()
    {
        // Most alerts do not fire, so the test queries each series of the expression.
        let metrics = metrics_in(&expression);
        assert!(!metrics.is_empty(), "{alert}");
        let (absent, present): (Vec<_>, Vec<_>) = metrics
            .iter()
            .partition(|metric| WITHOUT_SERIES.contains(&metric.as_str()));
        for metric in present {
            eventually(&format!("{alert}: {metric}"), || {
                (!prometheus.query(metric).is_empty()).then_some(())
            });
        }
        if absent.is_empty() {
            // The requests above were for a group that is not configured. A scrape may have come between two of the others.
            let fires = alert == "AirlockClientsRejected";
            eventually(&format!("{alert} to fire: {fires}"), || {
                (prometheus.query(&expression).is_empty() != fires).then_some(())
            });
        }
    }
    for query in annotation_queries() {
        assert!(prometheus.query(&query).is_empty(), "{query}");
    }
    let paused = airlock.command(&["pause", "default", "--yes"]);
    assert!(paused.status.success(), "{paused:?}");
    eventually("an annotation of the pause", || {
        let queries = annotation_queries();
        let mut results = queries.iter().map(|query| prometheus.query(query));
        results.any(|result| !result.is_empty()).then_some(())
    });
}

#[test]
fn the_dashboard_is_red_when_one_of_the_servers_is_down() {
    let etcd = Etcd::start();
    let servers = [(); 2].map(|()| Airlock::on_etcd(&etcd.endpoints(), ""));
    let mut targets = servers
        .each_ref()
        .map(|server| server.status_url())
        .to_vec();
    targets.push(format!("http://127.0.0.1:{}", free_port()));
    let targets: Vec<_> = targets
        .iter()
        .map(|url| url.replace("http://", ""))
        .collect();
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let panel = panels.iter().find(|panel| panel["title"] == "Servers up");
    let panel = panel.expect("the panel");
    let query = filled(panel["targets"][0]["expr"].as_str().unwrap());
    let steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        .as_array()
        .unwrap();
    let shows = |prometheus: &Prometheus, color: &str| {
        eventually(&format!("{query}: {color}"), || {
            let result = prometheus.query(&query);
            let value: f64 = result.first()?["value"][1].as_str()?.parse().ok()?;
            let reached = |step: &&Value| step["value"].as_f64().is_none_or(|from| value >= from);
            let step = steps.iter().rfind(reached)?;
            (step["color"] == color).then_some(())
        });
    };
    let two = Prometheus::start(&targets[..2]);
    shows(&two, "green");
    let three = Prometheus::start(&targets);
    shows(&three, "red");
    // A server that Prometheus does not scrape may be down as well.
    let one = Prometheus::start(&targets[..1]);
    shows(&one, "red");
}

#[test]
fn each_panel_of_the_dashboard_has_a_unit_and_uses_the_variables() {
    let dashboard = dashboard();
    let mut rules = String::from("groups: [{ name: dashboard, rules: [\n");
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert_variables(query);
        }
    }
    for annotation in annotations(&dashboard) {
        assert_variables(annotation["expr"].as_str().unwrap());
    }
    for query in panel_queries().iter().chain(&annotation_queries()) {
        rules.push_str(&format!("{{ record: query, expr: {query:?} }},\n"));
    }
    rules.push_str("] }]\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    std::fs::write(&file, rules).unwrap();
    // Without a linter, which would complain about the name that all queries have here.
    let output = Command::new("promtool")
        .args(["check", "rules", "--lint=none"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Asserts that each selector of a query selects the site, and the group of a metric that has one.
fn assert_variables(query: &str) {
    for selector in query.split('{').skip(1) {
        let selector = selector.split('}').next().unwrap();
        assert!(selector.contains("site=~\"$site\""), "{query}");
    }
    for metric in metrics_in(query) {
        assert!(query.contains(&format!("{metric}{{")), "{query}");
        let of_group = ["_semaphore_", "_lock_", "_group_", "_waiting_", "_window_"];
        if of_group.iter().any(|part| metric.contains(part)) {
            let selector = query.split(&format!("{metric}{{")).nth(1).unwrap();
            let selector = selector.split('}').next().unwrap();
            assert!(selector.contains("group=~\"$group\""), "{query}");
        }
    }
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(contrib("grafana/airlock.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns the annotations that Prometheus provides.
fn annotations(dashboard: &Value) -> Vec<&Value> {
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let queried = annotations.iter().filter(|entry| entry["expr"].is_string());
    let queried: Vec<_> = queried.collect();
    assert!(!queried.is_empty());
    queried
}

fn annotation_queries() -> Vec<String> {
    let dashboard = dashboard();
    let queries = annotations(&dashboard).into_iter();
    queries
        .map(|entry| filled(entry["expr"].as_str().unwrap()))
        .collect()
}

/// Returns the queries of all panels, with the variables of Grafana replaced.
fn panel_queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| filled(target["expr"].as_str().unwrap()));
    let queries: Vec<String> = queries.collect();
    assert!(queries.len() > 16, "{queries:?}");
    queries
}

/// Returns a query with the variables of Grafana replaced.
fn filled(query: &str) -> String {
    query
        .replace("$__rate_interval", "30s")
        .replace("$site", ".*")
        .replace("$group", ".*")
}

/// Returns all alerts.
pub(crate) fn rules() -> Vec<Rule> {
    let document = yaml("airlock.rules.yml");
    let rules = document["groups"][0]["rules"].as_vec().unwrap();
    let text = |value: &Yaml| value.as_str().unwrap_or_default().to_owned();
    rules
        .iter()
        .map(|rule| Rule {
            alert: text(&rule["alert"]),
            expression: text(&rule["expr"]),
            runbook_url: text(&rule["annotations"]["runbook_url"]),
        })
        .collect()
}

fn yaml(file: &str) -> Yaml {
    let text = std::fs::read_to_string(contrib("prometheus").join(file)).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

fn metrics_in(expression: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_word(c));
    words
        .filter(|word| word.starts_with("airlock_") || *word == "up")
        .map(str::to_owned)
        .collect()
}
