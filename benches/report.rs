//! The report: printed rows, a JSON document and a chart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The result of one load on one configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) clients: usize,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) max_us: u32,
    /// Relative to the baseline of the same kind with the same number of clients.
    pub(crate) p50_ratio_to_baseline: Option<f64>,
    pub(crate) rate_ratio_to_baseline: Option<f64>,
    pub(crate) responses: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) store_calls_per_request: f64,
    pub(crate) store_writes: f64,
    pub(crate) conflicts: f64,
    /// CPU time per request: of the servers, of etcd, of the load generator.
    pub(crate) server_cpu_us: f64,
    pub(crate) etcd_cpu_us: f64,
    pub(crate) load_cpu_us: f64,
}

/// A single figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// All results. A scenario that runs again replaces its earlier results.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) facts: Vec<Fact>,
}

// === impl Report ===

impl Report {
    /// Reads an earlier report, if there is one.
    pub(crate) fn load(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            Err(_) => Report::default(),
        }
    }

    /// Removes the results of a scenario.
    pub(crate) fn forget(&mut self, scenario: &str) {
        self.rows.retain(|row| row.scenario != scenario);
        self.facts.retain(|fact| fact.scenario != scenario);
    }

    /// Prints and adds a figure.
    pub(crate) fn fact(&mut self, scenario: &str, case: &str, value: f64, unit: &str) {
        println!("{scenario:22} {case:40} {value:>12.2} {unit}");
        self.facts.push(Fact {
            scenario: scenario.into(),
            case: case.into(),
            value,
            unit: unit.into(),
        });
    }

    /// Prints and adds a row.
    pub(crate) fn row(&mut self, row: Row) {
        let ratio =
            |ratio: Option<f64>| ratio.map_or("    -".into(), |ratio| format!("{ratio:5.2}"));
        println!(
            "{:22} {:28} {:>5} clients {:>8.0}/s  p50 {:>7} us ({} x baseline)  p99 {:>7} us  {:>7.4} store calls \
             per request  CPU us: server {:>5.1} etcd {:>6.1} load {:>5.1}  failed {}",
            row.scenario,
            row.case,
            row.clients,
            row.requests_per_second,
            row.p50_us,
            ratio(row.p50_ratio_to_baseline),
            row.p99_us,
            row.store_calls_per_request,
            row.server_cpu_us,
            row.etcd_cpu_us,
            row.load_cpu_us,
            row.failed,
        );
        self.rows.push(row);
    }

    /// Writes the JSON document and the chart.
    pub(crate) fn save(&self, json: &Path, svg: &Path) {
        let mut text = serde_json::to_string_pretty(self).unwrap();
        text.push('\n');
        fs::write(json, text).unwrap();
        fs::write(svg, self.draw()).unwrap();
    }

    /// Draws the requests per second of each row as bars on a logarithmic scale.
    fn draw(&self) -> String {
        const LEFT: usize = 390;
        const DECADE: f64 = 110.0;
        const LINE: usize = 20;
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.requests_per_second > 0.0)
            .collect();
        let height = 70 + LINE * rows.len();
        let length = |rate: f64| (rate.max(10.0).log10() - 1.0) * DECADE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1040\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"1040\" height=\"{height}\" fill=\"white\"/>\n\
             <text x=\"10\" y=\"22\" font-size=\"16\">Requests per second (logarithmic scale) and p99 latency</text>\n"
        );
        for decade in 1..=5_u32 {
            let rate = 10_f64.powi(decade as i32);
            let x = LEFT as f64 + length(rate);
            let _ = writeln!(
                svg,
                "<line x1=\"{x}\" y1=\"46\" x2=\"{x}\" y2=\"{height}\" stroke=\"#ddd\"/>\
                 <text x=\"{x}\" y=\"42\" text-anchor=\"middle\" fill=\"#666\">{rate}</text>"
            );
        }
        for (index, row) in rows.iter().enumerate() {
            let y = 52 + LINE * index;
            let colour = match row.scenario.as_str() {
                "baseline" => "#999999",
                "ceiling" => "#cccccc",
                "embedded" => "#d08c3c",
                _ => "#3c78b4",
            };
            let clients = match row.clients {
                1 => "1 client".to_owned(),
                clients => format!("{clients} clients"),
            };
            let width = length(row.requests_per_second);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} {}, {}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" fill=\"#333\">{:.0}/s, p99 {:.1} ms</text>",
                LEFT - 8,
                y + 12,
                row.scenario,
                row.case,
                clients,
                LINE - 5,
                LEFT as f64 + width + 6.0,
                y + 12,
                row.requests_per_second,
                f64::from(row.p99_us) / 1000.0,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
