//! A real Prometheus that scrapes the server under test and evaluates the rules of contrib/.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{eventually, free_port, repository};

/// A running Prometheus with the rules of contrib/prometheus. It scrapes one fleet every second.
pub struct Prometheus {
    url: String,
    _process: Process,
    _folder: TempDir,
}

/// Returns the path of a file in contrib/.
pub fn contrib(path: &str) -> PathBuf {
    repository().join("contrib").join(path)
}

impl Prometheus {
    /// Starts Prometheus, scraping the status listeners at `targets` (`host:port`), and waits until it has
    /// scraped all of them.
    pub fn start(targets: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let rules = contrib("prometheus/airlock.rules.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{rules:?}]\n\
             scrape_configs: [{{ job_name: airlock, static_configs: [{{ targets: {targets:?}, \
             labels: {{ site: here }} }}] }}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let prometheus = Prometheus {
            url: format!("http://127.0.0.1:{port}"),
            _process: Process::start(command, &folder.path().join("log")),
            _folder: folder,
        };
        eventually("Prometheus to scrape", || {
            let up = prometheus.query("up");
            (up.len() == targets.len()).then_some(())
        });
        prometheus
    }

    /// Returns the URL, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the result of an instant query; empty until Prometheus responds.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.get("query", &[("query", query)]);
        assert!(answer["status"] != "error", "{query}: {}", answer["error"]);
        answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Returns the firing alerts as pairs of alert name and group.
    pub fn firing(&self) -> Vec<(String, String)> {
        let answer = self.get("alerts", &[]);
        let alerts = answer["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| {
                let label = |name: &str| {
                    alert["labels"][name]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                (label("alertname"), label("group"))
            })
            .collect()
    }

    fn get(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{what}", self.url);
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        let Ok(response) = reqwest::blocking::get(url) else {
            return Value::Null;
        };
        let text = response.text().unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}
