//! `make bench`: the release binary and a real etcd under load. Prints one row for each case and writes all of
//! them to performance.json and performance.svg in docs/.
//!
//! `cargo bench -- --help` lists the scenarios and options. Without a scenario all of them run. The results of
//! earlier runs are kept for the scenarios that do not run.
//!
//! With AIRLOCK_OTHER=BINARY, it only compares both servers, and prints the results.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a developer's program, which ends on an unexpected result"
)]

mod baseline;
mod connection_per_request;
mod harness;
mod load;
mod other;
mod policies;
mod presence;
mod report;
mod scenarios;
mod server;
mod startup;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};

use harness::Bench;
use report::Report;
use scenarios::Scenario;

/// Measures the server that AIRLOCK_BINARY names.
#[derive(Parser)]
#[command(name = "make bench ARGS=")]
struct Arguments {
    /// The scenarios to run; all of them if none is given.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// The duration of each case.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3")]
    seconds: Duration,
    /// The time over which the CPU use of an idle server is measured.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    idle_seconds: Duration,
    /// The folder of performance.json and performance.svg.
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    out: PathBuf,
    /// The argument that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.out).unwrap();
    let json = arguments.out.join("performance.json");
    let svg = arguments.out.join("performance.svg");
    let report = Report::load(&json);
    let mut bench = Bench::new(report, arguments.seconds, arguments.idle_seconds);
    if let Some(binary) = std::env::var_os("AIRLOCK_OTHER") {
        return other::compare(&mut bench, binary.as_ref());
    }
    for scenario in Scenario::value_variants() {
        if arguments.scenarios.is_empty() || arguments.scenarios.contains(scenario) {
            bench.report.forget(&scenario.name());
            scenario.run(&mut bench);
            bench.report.save(&json, &svg);
        }
    }
    println!("wrote {} and {}", json.display(), svg.display());
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
