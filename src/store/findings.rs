//! The result of an inspection of the store: what is known about each endpoint or file, and the findings.

use std::path::PathBuf;

use serde::Serialize;

/// The result of an inspection.
#[derive(Debug, Default, Serialize)]
pub(crate) struct StoreReport {
    /// The facts about each etcd endpoint, in the order of the configuration.
    pub(crate) endpoints: Vec<EndpointFacts>,
    /// The embedded store; `None` for etcd.
    pub(crate) file: Option<FileFacts>,
    /// The findings, the most severe ones first.
    pub(crate) findings: Vec<Finding>,
}

/// The facts that an etcd endpoint returned about itself. `None`: it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct EndpointFacts {
    /// The endpoint, with its scheme.
    pub(crate) endpoint: String,
    /// The id of the cluster, in hexadecimal digits as etcdctl prints it.
    pub(crate) cluster_id: Option<String>,
    /// The id of the member, in hexadecimal digits.
    pub(crate) member_id: Option<String>,
    /// The name of the member.
    pub(crate) member: Option<String>,
    /// The version of etcd.
    pub(crate) version: Option<String>,
    /// The role of the member.
    pub(crate) role: Option<Role>,
    /// The term of the leader.
    pub(crate) raft_term: Option<u64>,
    /// The size of the database.
    pub(crate) database_bytes: Option<u64>,
    /// The limit of the size of the database, which etcd tells from version 3.6 on.
    pub(crate) quota_bytes: Option<u64>,
    /// The duration of one linearizable read.
    pub(crate) round_trip_microseconds: Option<u64>,
    /// The seconds by which the clock of the member is ahead of this machine's, at least; 0 if they may be equal.
    pub(crate) clock_ahead_seconds: Option<i64>,
}

/// The role of a member in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// It leads the cluster.
    Leader,
    /// It votes, and follows the leader.
    Follower,
    /// It does not vote yet, and serves no requests of this program.
    Learner,
    /// It has no leader, so the cluster has no quorum, or cannot reach this member.
    NoLeader,
}

/// What is known about the file of the embedded store.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FileFacts {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its size; `None`: it does not exist.
    pub(crate) bytes: Option<u64>,
    /// The size of the write-ahead log before the inspection; `None`: there is none.
    pub(crate) wal_bytes: Option<u64>,
    /// The mode of the file, as `chmod` takes it.
    pub(crate) mode: Option<String>,
    /// The version of the schema.
    pub(crate) schema_version: Option<i32>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) check: Check,
    /// The endpoints or files to which it applies.
    pub(crate) subjects: Vec<String>,
    pub(crate) message: String,
    /// What the operator can do, unless the message says so.
    pub(crate) remedy: Option<String>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// A server cannot work with the store.
    Error,
    /// A server works, but an operator should know.
    Warning,
    /// The check was not possible.
    Unknown,
    /// The check found no problem.
    Ok,
}

/// What was checked. The names are part of the output and must not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// etcd: the endpoint replies.
    Reachable,
    /// etcd: the user and its password.
    Authentication,
    /// etcd: all endpoints belong to one cluster.
    Cluster,
    /// etcd: the member has a leader.
    Leader,
    /// etcd: the member is not a learner.
    Learner,
    /// etcd: the members of the cluster, and which of them the endpoints name.
    Members,
    /// etcd: the version, and its known bugs.
    Version,
    /// etcd: the alarms of the cluster.
    Alarm,
    /// etcd: the size of the database.
    DatabaseSize,
    /// etcd: the permission to read all groups, and a linearizable read.
    Read,
    /// etcd: the permission to write, and the space for it.
    Write,
    /// etcd: the clocks of the members and of this machine.
    Clock,
    /// Embedded store: the file exists and can be opened.
    File,
    /// Embedded store: the filesystem of the file.
    Filesystem,
    /// Embedded store: the structure of the file.
    Integrity,
    /// Embedded store: the version of the schema.
    Schema,
    /// Embedded store: the users that may access the file.
    FilePermissions,
}

// === impl StoreReport ===

impl StoreReport {
    /// Joins findings that differ in their subjects only, and sorts them by severity.
    pub(crate) fn new(
        endpoints: Vec<EndpointFacts>,
        file: Option<FileFacts>,
        findings: Vec<Finding>,
    ) -> Self {
        let mut joined: Vec<Finding> = Vec::new();
        for finding in findings {
            match joined.iter_mut().find(|other| other.is_same(&finding)) {
                Some(other) => other.subjects.extend(finding.subjects),
                None => joined.push(finding),
            }
        }
        // Stable: within one severity, the order of the checks stays.
        joined.sort_by_key(|finding| finding.severity);
        StoreReport {
            endpoints,
            file,
            findings: joined,
        }
    }

    /// Returns the number of findings of this severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// Turns each warning into an error.
    pub(crate) fn promote_warnings(&mut self) {
        for finding in &mut self.findings {
            if finding.severity == Severity::Warning {
                finding.severity = Severity::Error;
            }
        }
    }

    /// Logs each warning and each error as one line.
    pub(crate) fn log(&self) {
        for finding in &self.findings {
            let Finding {
                severity: Severity::Error | Severity::Warning,
                ..
            } = finding
            else {
                continue;
            };
            tracing::warn!(
                check = finding.check.name(),
                at = finding.subjects.join(" "),
                reason = finding.text(),
                "the check of the store found a problem"
            );
        }
    }
}

// === impl Finding ===

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        check: Check,
        subject: &str,
        message: impl Into<String>,
    ) -> Self {
        Finding {
            severity,
            check,
            subjects: vec![subject.to_owned()],
            message: message.into(),
            remedy: None,
        }
    }

    /// Adds what the operator can do.
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Finding {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// Returns the message and the remedy.
    /// Returns the endpoints or files and the message.
    pub(crate) fn describe(&self) -> String {
        format!("{}: {}", self.subjects.join(" "), self.text())
    }

    fn text(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.message),
            None => self.message.clone(),
        }
    }

    fn is_same(&self, other: &Finding) -> bool {
        (self.severity, self.check) == (other.severity, other.check)
            && (&self.message, &self.remedy) == (&other.message, &other.remedy)
    }
}

// === impl Check ===

impl Check {
    /// Returns the name, as in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Check::Reachable => "reachable",
            Check::Authentication => "authentication",
            Check::Cluster => "cluster",
            Check::Leader => "leader",
            Check::Learner => "learner",
            Check::Members => "members",
            Check::Version => "version",
            Check::Alarm => "alarm",
            Check::DatabaseSize => "database_size",
            Check::Read => "read",
            Check::Write => "write",
            Check::Clock => "clock",
            Check::File => "file",
            Check::Filesystem => "filesystem",
            Check::Integrity => "integrity",
            Check::Schema => "schema",
            Check::FilePermissions => "file_permissions",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging;

    #[test]
    fn findings_that_differ_in_their_endpoint_are_joined_and_the_most_severe_are_first() {
        let finding = |severity, subject| Finding::new(severity, Check::Read, subject, "text");
        let report = StoreReport::new(
            Vec::new(),
            None,
            vec![
                finding(Severity::Ok, "a"),
                finding(Severity::Error, "b"),
                finding(Severity::Ok, "c"),
                finding(Severity::Error, "d").with_remedy("repair it"),
            ],
        );
        let found: Vec<_> = (report.findings.iter())
            .map(|finding| (finding.severity, finding.subjects.concat()))
            .collect();
        let expected = [
            (Severity::Error, "b"),
            (Severity::Error, "d"),
            (Severity::Ok, "ac"),
        ];
        assert_eq!(
            found,
            expected.map(|(severity, subjects)| (severity, subjects.to_owned()))
        );
        assert_eq!(report.count(Severity::Error), 2);
    }

    #[test]
    fn the_name_of_a_check_is_the_one_in_json() {
        for check in [
            Check::Reachable,
            Check::DatabaseSize,
            Check::Filesystem,
            Check::FilePermissions,
        ] {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
        }
    }

    #[test]
    fn strict_turns_each_warning_into_an_error_and_nothing_else() {
        let severities = [Severity::Ok, Severity::Warning, Severity::Error];
        let findings = severities
            .map(|severity| Finding::new(severity, Check::Read, "a", format!("{severity:?}")));
        let mut report = StoreReport::new(Vec::new(), None, findings.into());
        report.promote_warnings();
        assert_eq!(report.count(Severity::Ok), 1);
        assert_eq!(report.count(Severity::Warning), 0);
        assert_eq!(report.count(Severity::Error), 2);
    }

    #[test]
    fn the_text_of_a_finding_ends_with_the_remedy() {
        let finding = Finding::new(Severity::Error, Check::Read, "a", "it is broken");
        assert_eq!(finding.text(), "it is broken");
        let finding = finding.with_remedy("repair it");
        assert_eq!(finding.text(), "it is broken; repair it");
    }

    #[test]
    fn a_report_logs_its_warnings_and_errors() {
        let severities = [
            Severity::Ok,
            Severity::Unknown,
            Severity::Warning,
            Severity::Error,
        ];
        let findings = severities
            .map(|severity| Finding::new(severity, Check::Read, "a", format!("{severity:?}")));
        let report = StoreReport::new(Vec::new(), None, findings.into());
        assert_eq!(logging::warnings(|| report.log()), 2);
    }
}
