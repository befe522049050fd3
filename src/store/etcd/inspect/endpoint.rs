//! The inspection of one endpoint, with a client of its own.

use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, Error, GetOptions, ResponseHeader, StatusResponse,
};
use tokio::time::{self, Instant};
use tonic::Code;

use super::http::{self, HttpFacts};
use crate::config::ClusterId;
use crate::lock::GroupName;
use crate::store::etcd::class::{AUTH_DISABLED, NO_USER};
use crate::store::etcd::credentials::Credentials;
use crate::store::etcd::error::{GRANT, Problem};
use crate::store::etcd::keys;
use crate::store::etcd::transaction::never_applies;
use crate::store::findings::{Check, EndpointFacts, Finding, Role, Severity};

/// The part of the quota from which on the size of the database is worth a warning, in percent.
const FULL_PERCENT: u64 = 80;

/// The difference between two clocks, in seconds, that is worth a warning.
const CLOCK_TOLERANCE: u64 = 2;

/// The result of the inspection of one endpoint.
pub(super) struct EndpointReport {
    pub(super) facts: EndpointFacts,
    pub(super) findings: Vec<Finding>,
    /// The members of its cluster; `None`: not known.
    pub(super) members: Option<Vec<MemberFacts>>,
    /// Whether a server can read and write the locks with this endpoint.
    pub(super) is_usable: bool,
}

/// A member of a cluster.
pub(super) struct MemberFacts {
    /// The id, in hexadecimal digits.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) client_urls: Vec<String>,
    pub(super) is_learner: bool,
}

/// Inspects the endpoint at `url`. Every call together takes no longer than `timeout`. `group` is one of the configured
/// groups.
pub(super) async fn inspect(
    url: &str,
    credentials: &Credentials,
    group: &GroupName,
    timeout: Duration,
) -> EndpointReport {
    let mut inspection = Inspection::new(url, credentials, timeout);
    let http = time::timeout(timeout, http::facts(url, credentials.settings()));
    let (reached, http) = tokio::join!(inspection.run(group), http);
    if reached.is_some() {
        inspection.record_http(http.unwrap_or_default());
    }
    inspection.report
}

struct Inspection<'a> {
    url: &'a str,
    credentials: &'a Credentials,
    timeout: Duration,
    deadline: Instant,
    report: EndpointReport,
}

// === impl Inspection ===

impl<'a> Inspection<'a> {
    fn new(url: &'a str, credentials: &'a Credentials, timeout: Duration) -> Self {
        Inspection {
            url,
            credentials,
            timeout,
            deadline: Instant::now() + timeout,
            report: EndpointReport {
                facts: EndpointFacts {
                    endpoint: url.to_owned(),
                    ..EndpointFacts::default()
                },
                findings: Vec::new(),
                members: None,
                is_usable: false,
            },
        }
    }

    /// Makes all calls, as far as each makes sense after the one before. Returns `None` if the endpoint does not reply.
    async fn run(&mut self, group: &GroupName) -> Option<()> {
        let client = self.connect().await?;
        match self.call(client.maintenance_client().status()).await {
            Ok(status) => self.record_status(&status),
            Err(problem) if is_refused(&problem) => {
                self.unknown(Check::Leader, "the role of the member", &problem);
            }
            Err(problem) => {
                self.error(Check::Reachable, problem.to_string());
                return None;
            }
        }
        match self.report.facts.role {
            Some(Role::Learner) => self.report_learner(),
            Some(Role::NoLeader) => self.report_no_leader(),
            Some(Role::Leader | Role::Follower) | None => {
                self.record_alarms(&client).await;
                self.record_members(&client).await;
                let can_read = self.check_read(&client, group).await;
                let can_write = can_read && self.check_write(&client, group).await;
                self.report.is_usable = can_write;
            }
        }
        Some(())
    }

    /// Makes one call before the deadline.
    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Problem> {
        match time::timeout_at(self.deadline, call).await {
            Ok(result) => result.map_err(|error| Problem::new(self.url, error)),
            Err(_) => Err(Problem::NoReply(self.timeout)),
        }
    }

    /// Creates a client, without the configured user if etcd has authentication off.
    async fn connect(&mut self) -> Option<Client> {
        let options = self.credentials.options(self.url);
        let problem = match self.call(Client::connect([self.url], Some(options))).await {
            Ok(client) => return Some(client),
            Err(problem) => problem,
        };
        if problem.is_status(AUTH_DISABLED) {
            let finding = self.finding(
                Severity::Warning,
                Check::Authentication,
                "etcd3.username is set, but etcd has authentication off and lets every client write",
            );
            self.report.findings.push(finding.with_remedy(
                "run `etcdctl auth enable`, or remove etcd3.username and etcd3.password_path",
            ));
            let options = self.credentials.options_without_user(self.url);
            match self.call(Client::connect([self.url], Some(options))).await {
                Ok(client) => return Some(client),
                Err(problem) => self.error(Check::Reachable, problem.to_string()),
            }
            return None;
        }
        let check = match &problem {
            Problem::Status(status) if status.message().starts_with("etcdserver: auth") => {
                Check::Authentication
            }
            _ => Check::Reachable,
        };
        self.error(check, problem.to_string());
        None
    }

    fn record_status(&mut self, status: &StatusResponse) {
        self.record_header(status.header());
        let facts = &mut self.report.facts;
        facts.version = Some(status.version().to_owned());
        facts.raft_term = Some(status.raft_term());
        facts.database_bytes = u64::try_from(status.db_size()).ok();
        // 0: etcd does not tell it, before 3.6.
        let quota = u64::try_from(status.db_size_quota()).ok();
        facts.quota_bytes = quota.filter(|quota| *quota > 0);
        let own = status.header().map(ResponseHeader::member_id);
        facts.role = Some(match status.leader() {
            _ if status.is_learner() => Role::Learner,
            0 => Role::NoLeader,
            leader if own == Some(leader) => Role::Leader,
            _ => Role::Follower,
        });
        if let (Some(bytes), Some(quota)) = (facts.database_bytes, facts.quota_bytes)
            && bytes >= quota / 100 * FULL_PERCENT
        {
            let message = format!(
                "the database of etcd has {bytes} bytes; at {quota}, etcd refuses every write"
            );
            let finding = self.finding(Severity::Warning, Check::DatabaseSize, message);
            let remedy = "compact and defragment etcd, or raise its --quota-backend-bytes";
            self.report.findings.push(finding.with_remedy(remedy));
        }
    }

    fn record_header(&mut self, header: Option<&ResponseHeader>) {
        if let Some(header) = header {
            self.report.facts.cluster_id = Some(ClusterId(header.cluster_id()).to_string());
            self.report.facts.member_id = Some(format!("{:x}", header.member_id()));
        }
    }

    fn report_learner(&mut self) {
        let message = "the member is a learner, which serves no requests of the server";
        let finding = self.finding(Severity::Error, Check::Learner, message);
        let remedy = format!(
            "promote it with `etcdctl member promote {}`, or remove it from etcd3.endpoints until then",
            self.report.facts.member_id.as_deref().unwrap_or("ID")
        );
        self.report.findings.push(finding.with_remedy(remedy));
    }

    fn report_no_leader(&mut self) {
        let message = "the member has no leader: it cannot reach a majority of its cluster";
        let finding = self.finding(Severity::Error, Check::Leader, message);
        let remedy = "start the other members, and check the network between the members";
        self.report.findings.push(finding.with_remedy(remedy));
    }

    async fn record_alarms(&mut self, client: &Client) {
        let mut maintenance = client.maintenance_client();
        let call = maintenance.alarm(AlarmAction::Get, AlarmType::None, None);
        let alarms = match self.call(call).await {
            Ok(response) => response,
            Err(problem) => return self.unknown(Check::Alarm, "the alarms of etcd", &problem),
        };
        let mut found = false;
        for alarm in alarms.alarms() {
            let (text, remedy) = match alarm.alarm() {
                AlarmType::None => continue,
                AlarmType::Nospace => (
                    "NOSPACE: etcd refuses every write, so no lock can be granted",
                    "delete, compact and defragment, then run `etcdctl alarm disarm`; see \"Make room in etcd\" in \
                     docs/operations.md",
                ),
                AlarmType::Corrupt => (
                    "CORRUPT: its data differs from that of the other members",
                    "replace the member, or restore a backup, then run `etcdctl alarm disarm`",
                ),
            };
            found = true;
            let message = format!("member {:x} has the alarm {text}", alarm.member_id());
            let finding = self.finding(Severity::Error, Check::Alarm, message);
            self.report.findings.push(finding.with_remedy(remedy));
        }
        if !found {
            self.ok(Check::Alarm, "etcd has no alarm");
        }
    }

    async fn record_members(&mut self, client: &Client) {
        let mut cluster = client.cluster_client();
        let response = match self.call(cluster.member_list()).await {
            Ok(response) => response,
            Err(problem) => {
                return self.unknown(Check::Members, "the members of the cluster", &problem);
            }
        };
        let members = response.members().iter().map(|member| MemberFacts {
            id: format!("{:x}", member.id()),
            name: member.name().to_owned(),
            client_urls: member.client_urls().to_vec(),
            is_learner: member.is_learner(),
        });
        self.report.members = Some(members.collect());
    }

    /// Reads the number of keys of all groups, which is linearizable and needs the permission to read them.
    async fn check_read(&mut self, client: &Client, group: &GroupName) -> bool {
        let started = Instant::now();
        let options = GetOptions::new().with_prefix().with_count_only();
        let mut kv = client.kv_client();
        let problem = match self.call(kv.get(keys::PREFIX, Some(options))).await {
            Ok(response) => {
                let elapsed = started.elapsed().as_micros();
                self.report.facts.round_trip_microseconds = u64::try_from(elapsed).ok();
                self.record_header(response.header());
                self.ok(Check::Read, format!("the server may read {}", keys::PREFIX));
                return true;
            }
            Err(problem) => problem,
        };
        // A role on the keys of the groups instead of the prefix suffices for locks.
        let key = keys::semaphore(group);
        let options = GetOptions::new().with_count_only();
        if is_refused(&problem)
            && let Ok(response) = self.call(kv.get(key.clone(), Some(options))).await
        {
            self.record_header(response.header());
            let message = format!(
                "the server may read the key {key}, but not the prefix {}, so it cannot watch the groups",
                keys::PREFIX
            );
            let finding = self.finding(Severity::Warning, Check::Read, message);
            self.report.findings.push(finding.with_remedy(GRANT));
            return true;
        }
        self.error(Check::Read, problem.to_string());
        false
    }

    /// Checks the permission to write a group and the space for it.
    async fn check_write(&mut self, client: &Client, group: &GroupName) -> bool {
        let mut kv = client.kv_client();
        match self.call(kv.txn(never_applies(group))).await {
            Ok(_) => {
                let message = format!("the server may write the locks of group {group}");
                self.ok(Check::Write, message);
                true
            }
            Err(problem) => {
                self.error(Check::Write, problem.to_string());
                false
            }
        }
    }

    fn record_http(&mut self, http: HttpFacts) {
        let facts = &mut self.report.facts;
        facts.version = facts.version.take().or(http.version);
        facts.clock_ahead_seconds = http.clock_ahead_seconds;
        let Some(ahead) = http.clock_ahead_seconds else {
            let message = "the clock of etcd is not known, because it serves no HTTP on this port";
            let finding = self.finding(Severity::Unknown, Check::Clock, message);
            return self.report.findings.push(finding);
        };
        let seconds = ahead.unsigned_abs();
        if seconds < CLOCK_TOLERANCE {
            return self.ok(Check::Clock, "the clocks of etcd and of this machine agree");
        }
        let direction = match ahead.is_positive() {
            true => "ahead of",
            false => "behind",
        };
        let message =
            format!("the clock of etcd is {seconds} s {direction} the clock of this machine");
        let finding = self.finding(Severity::Warning, Check::Clock, message);
        self.report.findings.push(finding.with_remedy(
            "synchronize the clocks; reboot windows and the times of locks depend on that of the server",
        ));
    }

    fn finding(&self, severity: Severity, check: Check, message: impl Into<String>) -> Finding {
        Finding::new(severity, check, self.url, message)
    }

    fn ok(&mut self, check: Check, message: impl Into<String>) {
        let finding = self.finding(Severity::Ok, check, message);
        self.report.findings.push(finding);
    }

    fn error(&mut self, check: Check, message: impl Into<String>) {
        let finding = self.finding(Severity::Error, check, message);
        self.report.findings.push(finding);
    }

    fn unknown(&mut self, check: Check, what: &str, problem: &Problem) {
        let reason = match problem {
            // Without the remedy, which is about the keys of the groups: the server does not need this permission.
            Problem::Status(status) => status.message().to_owned(),
            problem => problem.to_string(),
        };
        let message = format!("{what}: not known ({reason})");
        let finding = self.finding(Severity::Unknown, check, message);
        self.report.findings.push(finding);
    }
}

/// Reports whether etcd refused a call because of the user.
fn is_refused(problem: &Problem) -> bool {
    let Problem::Status(status) = problem else {
        return false;
    };
    matches!(
        status.code(),
        Code::PermissionDenied | Code::Unauthenticated
    ) || problem.is_status(NO_USER)
}

#[cfg(test)]
mod tests;
