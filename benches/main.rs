//! `make bench`: the release binary and a real etcd under load. Prints a table, and keeps it as
//! docs/performance.json and docs/performance.svg.
//!
//! `cargo bench -- [SCENARIO…] [--seconds S] [--idle-seconds S] [--out FOLDER]`. Without a scenario all run;
//! those that ran before and are not named keep their figures.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for people, which ends on what it did not expect"
)]

mod bare;
mod bench;
mod life;
mod load;
mod report;
mod scenarios;
mod server;
mod visits;

use std::path::PathBuf;
use std::time::Duration;

use bench::Bench;
use report::Report;
use scenarios::SCENARIOS;

fn main() {
    let mut seconds = 3.0;
    let mut idle = 60.0;
    let mut folder = PathBuf::from("docs");
    let mut chosen: Vec<String> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .unwrap_or_else(|| panic!("{argument} needs a value"))
        };
        match argument.as_str() {
            // What cargo says to every benchmark.
            "--bench" => {}
            "--seconds" => seconds = value().parse().unwrap(),
            "--idle-seconds" => idle = value().parse().unwrap(),
            "--out" => folder = value().into(),
            name if SCENARIOS.iter().any(|(known, _)| *known == name) => chosen.push(name.into()),
            other => {
                let known: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
                panic!(
                    "{other}: there are {} and --seconds, --idle-seconds, --out",
                    known.join(", ")
                );
            }
        }
    }
    std::fs::create_dir_all(&folder).unwrap();
    let (json, svg) = (
        folder.join("performance.json"),
        folder.join("performance.svg"),
    );
    let mut bench = Bench::new(
        Report::load(&json),
        Duration::from_secs_f64(seconds),
        Duration::from_secs_f64(idle),
    );
    for (name, run) in SCENARIOS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            bench.report.forget(name);
            run(&mut bench);
            bench.report.save(&json, &svg);
        }
    }
    println!("written: {} and {}", json.display(), svg.display());
}
