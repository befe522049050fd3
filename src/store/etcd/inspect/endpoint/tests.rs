//! One endpoint, which is a fake one, so that each of its replies is chosen.

use super::*;
use crate::config::EtcdUser;
use crate::store::etcd::fake::{self, FakeEtcd, MEMBER_ID, Message, Reply, bytes, inner, number};

const REFUSED: Reply = Reply::Status(NO_USER);
const FAILED: Reply = Reply::Status("etcdserver: request timed out");

fn reply(message: Message) -> Reply {
    Reply::Messages(vec![(9, message)])
}

/// Replies with nothing but a header.
fn ok() -> Reply {
    reply(Message::default())
}

/// Replies with the status of a member of a cluster with this leader, and these fields.
fn status(leader: u64, fields: Message) -> Reply {
    let status = bytes(2, "3.6.9").and(number(4, leader)).and(number(6, 5));
    reply(status.and(fields))
}

fn leader() -> Reply {
    status(MEMBER_ID, Message::default())
}

fn learner() -> Message {
    number(10, 1)
}

fn size(bytes: u64, quota: u64) -> Message {
    number(3, bytes).and(number(12, quota))
}

fn alarm(member: u64, alarm: u64) -> Message {
    inner(2, &number(1, member).and(number(2, alarm)))
}

async fn inspect_as(etcd: &FakeEtcd, credentials: &Credentials) -> EndpointReport {
    let group = GroupName::new("g").unwrap();
    inspect(&etcd.url(), credentials, &group, Duration::from_secs(60)).await
}

/// Inspects an endpoint that sends these replies, except to the request for its members.
async fn inspected(replies: impl IntoIterator<Item = Reply>) -> (EndpointReport, FakeEtcd) {
    let etcd = FakeEtcd::start(replies).await;
    let report = inspect_as(&etcd, &fake::credentials(None)).await;
    (report, etcd)
}

/// Returns each finding but the one about the clock, which the fake endpoint does not tell.
fn findings(report: &EndpointReport) -> Vec<(Severity, Check, &str)> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.check != Check::Clock)
        .map(|finding| (finding.severity, finding.check, &*finding.message))
        .collect()
}

const NO_ALARM: (Severity, Check, &str) = (Severity::Ok, Check::Alarm, "etcd has no alarm");
const MAY_READ: (Severity, Check, &str) = (
    Severity::Ok,
    Check::Read,
    "the server may read com.coreos.airlock/groups/",
);
const MAY_WRITE: (Severity, Check, &str) = (
    Severity::Ok,
    Check::Write,
    "the server may write the locks of group g",
);

#[tokio::test]
async fn an_endpoint_that_allows_everything_is_usable_and_its_facts_are_known() {
    let etcd = FakeEtcd::start([status(MEMBER_ID, size(1, 0)), ok(), ok(), ok()]).await;
    let learner = number(1, 8).and(bytes(2, "b")).and(number(5, 1));
    etcd.add_member(
        &number(1, MEMBER_ID)
            .and(bytes(2, "a"))
            .and(bytes(4, "http://a")),
    );
    etcd.add_member(&learner);
    let report = inspect_as(&etcd, &fake::credentials(None)).await;
    assert!(report.is_usable);
    assert_eq!(findings(&report), [NO_ALARM, MAY_READ, MAY_WRITE]);
    assert_eq!(etcd.calls(), ["Status", "Alarm", "Range", "Txn"]);
    let facts = &report.facts;
    assert!(facts.round_trip_microseconds.is_some());
    assert_eq!(
        *facts,
        EndpointFacts {
            endpoint: etcd.url(),
            cluster_id: Some("1".into()),
            member_id: Some("7".into()),
            member: None,
            version: Some("3.6.9".into()),
            role: Some(Role::Leader),
            raft_term: Some(5),
            database_bytes: Some(1),
            quota_bytes: None,
            round_trip_microseconds: facts.round_trip_microseconds,
            clock_ahead_seconds: None,
        }
    );
    let members = report.members.unwrap();
    let members = members.iter().map(|member| {
        let urls = member.client_urls.join(" ");
        (&*member.id, &*member.name, urls, member.is_learner)
    });
    assert_eq!(
        members.collect::<Vec<_>>(),
        [
            ("7", "a", "http://a".to_owned(), false),
            ("8", "b", String::new(), true),
        ]
    );
}

#[tokio::test]
async fn a_learner_and_a_member_without_a_leader_are_not_asked_for_anything_else() {
    for (reply, role, check, remedy) in [
        (
            status(MEMBER_ID, learner()),
            Role::Learner,
            Check::Learner,
            "promote it with `etcdctl member promote 7`, or remove it from etcd3.endpoints until then",
        ),
        (
            status(0, Message::default()),
            Role::NoLeader,
            Check::Leader,
            "start the other members, and check the network between the members",
        ),
    ] {
        let (report, etcd) = inspected([reply]).await;
        assert_eq!(etcd.calls(), ["Status"]);
        assert_eq!(report.facts.role, Some(role));
        assert!(!report.is_usable);
        let finding = &report.findings[0];
        assert_eq!((finding.severity, finding.check), (Severity::Error, check));
        assert_eq!(finding.remedy.as_deref(), Some(remedy));
    }
    let follower = status(8, Message::default());
    let (report, _) = inspected([follower, ok(), ok(), ok()]).await;
    assert_eq!(report.facts.role, Some(Role::Follower));
    assert!(report.is_usable);
}

#[tokio::test]
async fn a_database_near_its_quota_is_a_warning() {
    for (bytes, quota, is_near) in [(799, 1000, false), (800, 1000, true), (800, 0, false)] {
        let (report, _) =
            inspected([status(MEMBER_ID, size(bytes, quota)), ok(), ok(), ok()]).await;
        assert_eq!(report.facts.database_bytes, Some(bytes));
        assert_eq!(report.facts.quota_bytes, (quota > 0).then_some(quota));
        let warnings = findings(&report);
        let warning = (
            Severity::Warning,
            Check::DatabaseSize,
            "the database of etcd has 800 bytes; at 1000, etcd refuses every write",
        );
        assert_eq!(warnings.contains(&warning), is_near, "{warnings:?}");
        let is_warned = warnings
            .iter()
            .any(|(_, check, _)| *check == Check::DatabaseSize);
        assert_eq!(is_warned, is_near, "{bytes} bytes: {warnings:?}");
    }
}

#[tokio::test]
async fn each_alarm_is_an_error_with_its_member() {
    let alarms = alarm(7, 1).and(alarm(0x1a, 2)).and(alarm(9, 0));
    let (report, _) = inspected([leader(), reply(alarms), ok(), ok()]).await;
    assert_eq!(
        findings(&report)[..2],
        [
            (
                Severity::Error,
                Check::Alarm,
                "member 7 has the alarm NOSPACE: etcd refuses every write, so no lock can be granted"
            ),
            (
                Severity::Error,
                Check::Alarm,
                "member 1a has the alarm CORRUPT: its data differs from that of the other members"
            ),
        ]
    );
    assert_eq!(report.findings[2].check, Check::Read);
}

#[tokio::test]
async fn what_the_user_may_not_ask_is_unknown_and_does_not_matter_to_the_locks() {
    let (report, _) = inspected([REFUSED, REFUSED, ok(), ok()]).await;
    assert!(report.is_usable);
    assert_eq!(
        findings(&report),
        [
            (
                Severity::Unknown,
                Check::Leader,
                "the role of the member: not known (etcdserver: user name is empty)"
            ),
            (
                Severity::Unknown,
                Check::Alarm,
                "the alarms of etcd: not known (etcdserver: user name is empty)"
            ),
            MAY_READ,
            MAY_WRITE,
        ]
    );
    // From the header of the read.
    assert_eq!(report.facts.cluster_id.as_deref(), Some("1"));
}

#[tokio::test]
async fn an_endpoint_that_does_not_tell_its_status_is_not_reachable() {
    let (report, etcd) = inspected([FAILED]).await;
    let [finding] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!(
        (finding.severity, finding.check),
        (Severity::Error, Check::Reachable)
    );
    assert!(finding.message.contains("timed out"), "{finding:?}");
    assert_eq!(etcd.calls(), ["Status"]);
    assert!(!report.is_usable);
}

#[tokio::test]
async fn the_key_of_a_group_is_read_if_the_prefix_may_not_be() {
    let (report, _) = inspected([leader(), ok(), REFUSED, ok(), ok()]).await;
    let message = "the server may read the key com.coreos.airlock/groups/g/v1/semaphore, but not the prefix \
                   com.coreos.airlock/groups/, so it cannot watch the groups";
    let expected = [
        NO_ALARM,
        (Severity::Warning, Check::Read, message),
        MAY_WRITE,
    ];
    assert_eq!(findings(&report), expected);
    assert!(report.is_usable);

    for (replies, calls) in [
        (vec![leader(), ok(), REFUSED, REFUSED], 4),
        (vec![leader(), ok(), FAILED, ok()], 3),
    ] {
        let (report, etcd) = inspected(replies).await;
        assert_eq!(etcd.calls().len(), calls);
        let (severity, check, _) = *findings(&report).last().unwrap();
        assert_eq!((severity, check), (Severity::Error, Check::Read));
        assert!(!report.is_usable);
    }
}

#[tokio::test]
async fn an_endpoint_that_rejects_writes_is_not_usable() {
    let (report, _) = inspected([leader(), ok(), ok(), REFUSED]).await;
    let (severity, check, _) = *findings(&report).last().unwrap();
    assert_eq!((severity, check), (Severity::Error, Check::Write));
    assert!(!report.is_usable);
}

#[tokio::test]
async fn a_login_that_fails_is_told_from_an_endpoint_that_is_not_reachable() {
    let folder = tempfile::tempdir().unwrap();
    let password_path = folder.path().join("password");
    std::fs::write(&password_path, "secret").unwrap();
    let credentials = fake::credentials(Some(EtcdUser {
        name: "airlock".into(),
        password_path,
    }));
    let wrong = Reply::Status("etcdserver: authentication failed, invalid user ID or password");
    for (reply, check) in [(wrong, Check::Authentication), (FAILED, Check::Reachable)] {
        let etcd = FakeEtcd::start([reply]).await;
        let report = inspect_as(&etcd, &credentials).await;
        let [finding] = &report.findings[..] else {
            panic!("{:?}", report.findings);
        };
        assert_eq!((finding.severity, finding.check), (Severity::Error, check));
        assert_eq!(etcd.calls(), ["Authenticate"]);
    }

    let off = Reply::Status(AUTH_DISABLED);
    let etcd = FakeEtcd::start([off, leader(), ok(), ok(), ok()]).await;
    let report = inspect_as(&etcd, &credentials).await;
    assert!(report.is_usable);
    let off = "etcd3.username is set, but etcd has authentication off and lets every client write";
    assert_eq!(
        findings(&report),
        [
            (Severity::Warning, Check::Authentication, off),
            NO_ALARM,
            MAY_READ,
            MAY_WRITE,
        ]
    );
}

#[test]
fn a_clock_that_differs_by_two_seconds_or_more_is_a_warning_with_its_direction() {
    let url = "http://etcd:2379";
    let credentials = fake::credentials(None);
    for (clock_ahead_seconds, severity, message) in [
        (None, Severity::Unknown, "the clock of etcd is not known"),
        (
            Some(0),
            Severity::Ok,
            "the clocks of etcd and of this machine agree",
        ),
        (
            Some(1),
            Severity::Ok,
            "the clocks of etcd and of this machine agree",
        ),
        (
            Some(-1),
            Severity::Ok,
            "the clocks of etcd and of this machine agree",
        ),
        (
            Some(2),
            Severity::Warning,
            "the clock of etcd is 2 s ahead of the clock",
        ),
        (
            Some(-2),
            Severity::Warning,
            "the clock of etcd is 2 s behind the clock",
        ),
    ] {
        let mut inspection = Inspection::new(url, &credentials, Duration::ZERO);
        inspection.record_http(HttpFacts {
            clock_ahead_seconds,
            ..HttpFacts::default()
        });
        assert_eq!(
            inspection.report.facts.clock_ahead_seconds,
            clock_ahead_seconds
        );
        let [finding] = inspection.report.findings.as_slice() else {
            panic!("{:?}", inspection.report.findings);
        };
        assert_eq!((finding.severity, finding.check), (severity, Check::Clock));
        assert!(finding.message.starts_with(message), "{finding:?}");
    }
}
