//! `airlock check-config`: checks the configuration and what it names, without starting anything.

mod description;

use std::path::Path;

use serde::Serialize;

use super::CliError;
use super::output::{print_raw, report};
use super::preflight::{self, Scope};
use crate::config::{self, Checked, Diagnostic};

/// The arguments of `airlock check-config`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,

    /// Print one JSON object with the fields valid, errors, warnings and description
    #[arg(long)]
    json: bool,
}

/// Checks the configuration at `path`.
///
/// # Errors
/// If a server with it would not start on this machine. The output has the reasons.
pub(super) async fn run(path: &Path, arguments: &Arguments) -> Result<(), CliError> {
    let mut checked = config::check(path);
    preflight::check(&mut checked, Scope::All).await;
    let is_promoted = arguments.strict && !checked.warnings.is_empty();
    if is_promoted {
        checked.errors.append(&mut checked.warnings);
        checked.sort();
    }
    let findings = Findings::new(checked);
    if arguments.json {
        report_json(&findings)?;
    } else {
        report_text(path, &findings, is_promoted);
    }
    if findings.is_valid() {
        Ok(())
    } else {
        Err(CliError::CheckFailed)
    }
}

/// The result of the check.
struct Findings {
    /// The problems that would keep the server from starting.
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// The description of a server with the configuration; empty if there is an error.
    description: Vec<String>,
}

fn report_text(path: &Path, findings: &Findings, is_promoted: bool) {
    for warning in &findings.warnings {
        report(format_args!("warning: {warning}"));
    }
    for error in &findings.errors {
        report(format_args!("error: {error}"));
    }
    report(format_args!("{}: {}", path.display(), findings.summary()));
    if findings.is_valid() {
        report("A server with this configuration:");
        for line in &findings.description {
            report(format_args!("  {line}"));
        }
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
    };
    // The value has no map, the only type that JSON may not be able to represent.
    let text = serde_json::to_string(&json).unwrap_or_default();
    print_raw(text)
}

#[derive(Serialize)]
struct FindingsJson<'a> {
    valid: bool,
    errors: Vec<DiagnosticJson<'a>>,
    warnings: Vec<DiagnosticJson<'a>>,
    description: &'a [String],
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
    fn new(checked: Checked) -> Self {
        let settings = checked.draft.filter(|_| checked.errors.is_empty());
        Findings {
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

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
