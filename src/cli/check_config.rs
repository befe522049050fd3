//! `airlock check-config`: checks the configuration and what it names, without starting anything.

mod calendar;
mod description;
mod online;

use std::path::Path;

use serde::Serialize;

use super::CliError;
use super::gates::{self, GateAnswer};
use super::output::{count, print_json, report, report_labelled};
use super::preflight::{self, Scope};
use crate::config::{self, Checked, Diagnostic};
use online::StoreFindings;

/// The arguments of `airlock check-config`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,

    /// Also check the store itself: connect to each endpoint of etcd, or read the file of the embedded store. Ask each
    /// gate once
    ///
    /// Writes nothing. For etcd: the clusters, members, versions with known bugs, alarms, permissions, and clocks. For
    /// the embedded store: the structure of the file, and its mode.
    #[arg(long)]
    online: bool,

    /// Print one JSON object with the fields valid, errors, warnings and description, and store and gates with
    /// --online
    #[arg(long)]
    json: bool,
}

/// Checks the configuration at `path`.
///
/// # Errors
/// If a server with it would not start on this machine, or could not use the store. The output has the reasons.
pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<(), CliError> {
    let mut checked = config::check(path);
    preflight::check(&mut checked, Scope::All).await;
    let is_promoted = arguments.strict && !checked.warnings.is_empty();
    if is_promoted {
        checked.errors.append(&mut checked.warnings);
        checked.sort();
    }
    let findings = Findings::new(checked, arguments).await;
    if arguments.json {
        report_json(&findings)?;
    } else {
        report_text(path, &findings, is_promoted);
    }
    match &findings.store {
        _ if !findings.is_valid() => Err(CliError::CheckFailed),
        Some(store) if !store.is_usable => Err(CliError::StoreCheckFailed),
        _ if gates::has_failure(&findings.gates) => Err(CliError::GatesFailed),
        _ => Ok(()),
    }
}

/// The result of the check.
struct Findings {
    /// The problems that would keep the server from starting.
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// The description of a server with the configuration; empty if there is an error.
    description: Vec<String>,
    /// The result of `--online`; `None` without it, or if there is an error.
    store: Option<StoreFindings>,
    /// The answers of the gates to `--online`; empty without it, or without a gate.
    gates: Vec<GateAnswer>,
}

fn report_text(path: &Path, findings: &Findings, is_promoted: bool) {
    for warning in &findings.warnings {
        report_labelled(format_args!("warning: {warning}"));
    }
    for error in &findings.errors {
        report_labelled(format_args!("error: {error}"));
    }
    report(format_args!("{}: {}", path.display(), findings.summary()));
    if findings.is_valid() {
        report("A server with this configuration:");
        for line in &findings.description {
            report(format_args!("  {line}"));
        }
        if let Some(store) = &findings.store {
            online::report_text(store);
        }
        online::report_gates(&findings.gates);
    } else if is_promoted {
        report("With --strict, every warning is an error.");
    }
}

fn report_json(findings: &Findings) -> Result<(), CliError> {
    let json = FindingsJson {
        valid: findings.is_valid(),
        errors: findings.errors.iter().map(DiagnosticJson::new).collect(),
        warnings: findings.warnings.iter().map(DiagnosticJson::new).collect(),
        description: &findings.description,
        store: findings.store.as_ref(),
        gates: &findings.gates,
    };
    print_json(&json)
}

#[derive(Serialize)]
struct FindingsJson<'a> {
    valid: bool,
    errors: Vec<DiagnosticJson<'a>>,
    warnings: Vec<DiagnosticJson<'a>>,
    description: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'a StoreFindings>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    gates: &'a [GateAnswer],
}

#[derive(Serialize)]
struct DiagnosticJson<'a> {
    file: String,
    /// `None`: the diagnostic is about something that is missing, or about the whole file.
    line: Option<usize>,
    /// `None`: the diagnostic is about the whole file.
    key: Option<&'a str>,
    message: &'a str,
}

// === impl Findings ===

impl Findings {
    async fn new(checked: Checked, arguments: &Arguments) -> Self {
        let settings = checked.draft.filter(|_| checked.errors.is_empty());
        let store = match &settings {
            Some(settings) if arguments.online => {
                Some(StoreFindings::collect(settings, arguments.strict).await)
            }
            _ => None,
        };
        let gates = match &settings {
            Some(settings) if arguments.online => gates::ask_all(settings).await,
            _ => Vec::new(),
        };
        Findings {
            store,
            gates,
            description: settings
                .as_ref()
                .map(description::lines)
                .unwrap_or_default(),
            errors: checked.errors,
            warnings: checked.warnings,
        }
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    fn summary(&self) -> String {
        let warnings = count(self.warnings.len(), "warning");
        let errors = count(self.errors.len(), "error");
        match (self.is_valid(), self.warnings.len()) {
            (true, 0) => "valid".into(),
            (true, _) => format!("valid, {warnings}"),
            (false, 0) => format!("invalid: {errors}"),
            (false, _) => format!("invalid: {errors}, {warnings}"),
        }
    }
}

// === impl DiagnosticJson ===

impl<'a> DiagnosticJson<'a> {
    fn new(diagnostic: &'a Diagnostic) -> Self {
        DiagnosticJson {
            file: diagnostic.file.display().to_string(),
            line: diagnostic.line,
            key: Some(diagnostic.key.as_str()).filter(|key| !key.is_empty()),
            message: &diagnostic.text,
        }
    }
}
