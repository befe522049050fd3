//! The output of `airlock check-config --online`: the facts about each endpoint or file, then the findings, then the
//! answers of the gates.

use std::time::Duration;

use serde::Serialize;

use crate::cli::gates::GateAnswer;
use crate::cli::output::{count, report, table};
use crate::config::Settings;
use crate::fleet::GateState;
use crate::store::findings::{EndpointFacts, FileFacts, Finding, Role, Severity, StoreReport};
use crate::store::inspect::inspect;

const HEADER: [&str; 6] = [
    "ENDPOINT",
    "VERSION",
    "MEMBER",
    "ROLE",
    "CLUSTER",
    "ROUND TRIP",
];

/// The column of a number.
const ROUND_TRIP: usize = 5;

/// The maximum width of a column: etcd limits no name.
const MAX_WIDTH: usize = 64;

/// The result of an inspection, and what follows from it.
#[derive(Debug, Serialize)]
pub(super) struct StoreFindings {
    /// Whether a server can work with the store. With `--strict`, false if there is a warning.
    pub(super) is_usable: bool,
    #[serde(flatten)]
    report: StoreReport,
    /// Whether warnings have become errors.
    #[serde(skip)]
    is_promoted: bool,
}

// === impl StoreFindings ===

impl StoreFindings {
    /// Inspects the configured store. If `is_strict`, every warning is an error.
    pub(super) async fn collect(settings: &Settings, is_strict: bool) -> Self {
        let mut report = inspect(settings).await;
        let is_promoted = is_strict && report.count(Severity::Warning) > 0;
        if is_promoted {
            report.promote_warnings();
        }
        StoreFindings {
            is_usable: report.count(Severity::Error) == 0,
            report,
            is_promoted,
        }
    }

    fn summary(&self) -> String {
        let counts = [
            (Severity::Error, "error"),
            (Severity::Warning, "warning"),
            (Severity::Unknown, "unknown fact"),
        ];
        let counts = counts.map(|(severity, noun)| (self.report.count(severity), noun));
        let counts = counts.iter().filter(|(number, _)| *number > 0);
        let mut text = vec![
            if self.is_usable {
                "usable"
            } else {
                "not usable"
            }
            .to_owned(),
        ];
        text.extend(counts.map(|(number, noun)| count(*number, noun)));
        text.join(", ")
    }
}

/// Prints the result for people.
pub(super) fn report_text(store: &StoreFindings) {
    report("");
    if !store.report.endpoints.is_empty() {
        report_endpoints(&store.report.endpoints);
        report("");
    }
    if let Some(file) = &store.report.file {
        report(file_line(file));
        report("");
    }
    // The embedded store is one file.
    let subjects = store.report.endpoints.len().max(1);
    for finding in &store.report.findings {
        report_finding(finding, subjects);
    }
    report(format_args!("store: {}", store.summary()));
    if store.is_promoted {
        report("With --strict, every warning is an error.");
    }
}

/// Prints the answers of the gates. A closed one is no problem of the configuration.
pub(super) fn report_gates(answers: &[GateAnswer]) {
    if answers.is_empty() {
        return;
    }
    report("");
    for answer in answers {
        let (name, after) = (&answer.name, answer.milliseconds);
        let severity = match answer.state {
            GateState::Open | GateState::Closed => "ok",
            GateState::Failed | GateState::Unknown => "error",
        };
        let reason = answer.reason.as_ref();
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let state = answer.state.as_str();
        report(format_args!(
            "{severity}: gate {name}: {state} after {after} ms{reason}"
        ));
    }
    let with = |state| {
        let with = answers.iter().filter(|answer| answer.state == state);
        format!("{} {}", with.count(), state.as_str())
    };
    let states = [GateState::Open, GateState::Closed, GateState::Failed].map(with);
    report(format_args!("gates: {}", states.join(", ")));
}

fn report_endpoints(endpoints: &[EndpointFacts]) {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(endpoints.iter().map(row));
    for line in table(rows, &[ROUND_TRIP], MAX_WIDTH) {
        report(line);
    }
}

fn row(facts: &EndpointFacts) -> [String; 6] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let role = match facts.role {
        Some(Role::Leader) => "leader",
        Some(Role::Follower) => "follower",
        Some(Role::Learner) => "learner",
        Some(Role::NoLeader) => "no leader",
        None => "-",
    };
    let round_trip = facts.round_trip_microseconds.map(|microseconds| {
        let milliseconds = Duration::from_micros(microseconds).as_secs_f64() * 1000.0;
        format!("{milliseconds:.1} ms")
    });
    [
        facts.endpoint.clone(),
        or_dash(&facts.version),
        or_dash(&facts.member),
        role.into(),
        or_dash(&facts.cluster_id),
        or_dash(&round_trip),
    ]
}

fn file_line(file: &FileFacts) -> String {
    let path = file.path.display();
    let Some(bytes) = file.bytes else {
        return format!("{path}: does not exist");
    };
    let wal = match file.wal_bytes {
        Some(bytes) => format!(", write-ahead log {bytes} bytes"),
        None => String::new(),
    };
    let mode = file.mode.as_deref().unwrap_or("unknown");
    format!("{path}: {bytes} bytes{wal}, mode {mode}")
}

/// Prints a finding, with its endpoints unless it is about all of them.
fn report_finding(finding: &Finding, all: usize) {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Unknown => "unknown",
        Severity::Ok => "ok",
    };
    let subjects = if finding.subjects.len() == all {
        String::new()
    } else {
        format!("{}: ", finding.subjects.join(", "))
    };
    report(format_args!("{severity}: {subjects}{}", finding.message));
    if let Some(remedy) = &finding.remedy {
        report(format_args!("  hint: {remedy}"));
    }
}
