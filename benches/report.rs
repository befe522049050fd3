//! What was measured: printed, kept as JSON, and drawn.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One load on one configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub scenario: String,
    pub case: String,
    pub clients: usize,
    pub requests_per_second: f64,
    pub p50_us: u32,
    pub p99_us: u32,
    pub max_us: u32,
    /// Where there is a bare etcd transaction of the same kind and as many clients.
    pub p50_ratio_to_bare: Option<f64>,
    pub rate_ratio_to_bare: Option<f64>,
    pub answers: u64,
    pub refused: u64,
    pub failed: u64,
    pub store_calls_per_request: f64,
    pub store_writes: f64,
    pub lost_comparisons: f64,
    /// Processor time a request, of the servers, of etcd, of the generator.
    pub server_cpu_us: f64,
    pub etcd_cpu_us: f64,
    pub load_cpu_us: f64,
}

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    pub scenario: String,
    pub case: String,
    pub value: f64,
    pub unit: String,
}

/// Everything that is known so far; a scenario that runs again replaces what it had.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    pub rows: Vec<Row>,
    pub facts: Vec<Fact>,
}

// === impl Report ===

impl Report {
    pub fn load(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Report::default(),
        }
    }

    pub fn forget(&mut self, scenario: &str) {
        self.rows.retain(|row| row.scenario != scenario);
        self.facts.retain(|fact| fact.scenario != scenario);
    }

    pub fn fact(&mut self, scenario: &str, case: &str, value: f64, unit: &str) {
        println!("{scenario:10} {case:40} {value:>12.2} {unit}");
        self.facts.push(Fact {
            scenario: scenario.into(),
            case: case.into(),
            value,
            unit: unit.into(),
        });
    }

    pub fn row(&mut self, row: Row) {
        let ratio =
            |ratio: Option<f64>| ratio.map_or("    -".into(), |ratio| format!("{ratio:5.2}"));
        println!(
            "{:10} {:26} {:>5} clients {:>8.0}/s  p50 {:>7} us ({} x bare)  p99 {:>7} us  {:>7.4} store calls \
             a request  cpu us: server {:>5.1} etcd {:>6.1} load {:>5.1}  failed {}",
            row.scenario,
            row.case,
            row.clients,
            row.requests_per_second,
            row.p50_us,
            ratio(row.p50_ratio_to_bare),
            row.p99_us,
            row.store_calls_per_request,
            row.server_cpu_us,
            row.etcd_cpu_us,
            row.load_cpu_us,
            row.failed,
        );
        self.rows.push(row);
    }

    pub fn save(&self, json: &Path, svg: &Path) {
        let mut text = serde_json::to_string_pretty(self).unwrap();
        text.push('\n');
        fs::write(json, text).unwrap();
        fs::write(svg, self.draw()).unwrap();
    }

    /// Requests a second of every row that is a rate, as bars on a logarithmic scale.
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
             <text x=\"10\" y=\"22\" font-size=\"16\">Requests a second (logarithmic), and the p99 of an answer</text>\n"
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
                "bare" => "#999999",
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
