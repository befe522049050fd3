//! What the endpoints of a cluster have to agree on.

use super::*;
use crate::config::EtcdSettings;
use crate::store::etcd::fake::FakeEtcd;
use crate::store::findings::EndpointFacts;

/// Returns the report of the endpoint `http://NAME:2379`, a member of the cluster with this id.
fn report(name: &str, cluster: u64) -> EndpointReport {
    EndpointReport {
        facts: EndpointFacts {
            endpoint: url(name),
            cluster_id: Some(ClusterId(cluster).to_string()),
            member_id: Some(format!("id of {name}")),
            ..EndpointFacts::default()
        },
        findings: Vec::new(),
        members: None,
        is_usable: true,
    }
}

fn url(name: &str) -> String {
    format!("http://{name}:2379")
}

/// Returns a voting member that advertises the endpoint of its name.
fn member(name: &str) -> MemberFacts {
    MemberFacts {
        id: format!("id of {name}"),
        name: name.to_owned(),
        client_urls: vec![url(name)],
        is_learner: false,
    }
}

/// Returns the severity, the subjects and the text of each finding.
fn summary(findings: &[Finding]) -> Vec<(Severity, String, &str)> {
    let findings = findings.iter();
    findings
        .map(|finding| {
            let subjects = finding.subjects.join(" ");
            (finding.severity, subjects, &*finding.message)
        })
        .collect()
}

#[test]
fn an_error_of_one_endpoint_is_a_warning_if_another_one_can_be_used() {
    let findings = |is_other_usable| {
        let mut broken = report("a", 1);
        broken.is_usable = false;
        broken.findings = [
            (Severity::Error, Check::Reachable),
            (Severity::Error, Check::Alarm),
            (Severity::Ok, Check::Read),
        ]
        .map(|(severity, check)| Finding::new(severity, check, "", ""))
        .into();
        let mut other = report("b", 1);
        other.is_usable = is_other_usable;
        let mut reports = [broken, other];
        tolerate_single_failures(&mut reports);
        let findings = reports[0].findings.iter();
        findings.map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(
        findings(true),
        [Severity::Warning, Severity::Error, Severity::Ok]
    );
    assert_eq!(
        findings(false),
        [Severity::Error, Severity::Error, Severity::Ok]
    );
}

#[test]
fn a_member_is_named_by_the_list_of_any_other_member() {
    let mut reports = [report("a", 1), report("b", 1), report("c", 1)];
    reports[1].members = Some(vec![member("a"), member("b")]);
    name_members(&mut reports);
    let names = reports.map(|report| report.facts.member);
    assert_eq!(names, [Some("a".to_owned()), Some("b".to_owned()), None]);
}

#[test]
fn endpoints_of_different_clusters_are_an_error_that_names_them() {
    let reports = [report("a", 0xa), report("b", 0xb), report("c", 0xa)];
    assert_eq!(
        summary(&cluster_findings(&reports, None)),
        [(
            Severity::Error,
            "http://a:2379 http://c:2379 http://b:2379".into(),
            "the endpoints belong to different clusters: a (http://a:2379, http://c:2379) and b (http://b:2379); no lock \
             can be granted"
        )]
    );
    assert_eq!(cluster_findings(&reports[..1], None), []);
    // Nothing is known about an endpoint that did not reply.
    let mut silent = report("d", 0);
    silent.facts.cluster_id = None;
    assert_eq!(cluster_findings(&[silent], None), []);
}

#[test]
fn a_cluster_other_than_the_required_one_is_not_used() {
    let with_members = |name, cluster| {
        let mut report = report(name, cluster);
        report.members = Some(vec![member(name)]);
        report
    };
    let reports = [with_members("a", 0xa), with_members("b", 0xb)];
    let foreign =
        "the endpoint belongs to the cluster b, and is not used: etcd3.cluster_id is \"a\"";
    let required = Some(ClusterId(0xa));
    assert_eq!(
        summary(&cluster_findings(&reports, required)),
        [
            (Severity::Warning, url("b"), foreign),
            (Severity::Ok, url("a"), "the cluster has one voting member"),
        ]
    );
    assert_eq!(
        summary(&cluster_findings(&reports[1..], required)),
        [(Severity::Error, url("b"), foreign)]
    );
}

#[test]
fn members_that_no_endpoint_names_are_a_warning_if_only_one_of_them_is_known() {
    let mut learner = member("d");
    learner.is_learner = true;
    let mut members = vec![member("a"), member("b"), member("c"), learner];
    members[0].client_urls[0].push('/');
    let (a, b, balancer) = (report("a", 1), report("b", 1), report("balancer", 1));
    let only = "the cluster has 3 voting members, but the server knows only one of them";
    let finding = members_finding(&[&a], &members);
    assert_eq!(
        (finding.severity, &*finding.message),
        (Severity::Warning, only)
    );
    assert_eq!(
        finding.remedy.unwrap(),
        "add the other members to etcd3.endpoints: http://b:2379, http://c:2379"
    );
    for (reports, message) in [
        (
            &[&a, &b][..],
            "the cluster has 3 voting members; the endpoints reached 2",
        ),
        (
            &[&balancer],
            "the cluster has 3 voting members; the endpoints reached 0",
        ),
    ] {
        let finding = members_finding(reports, &members);
        assert_eq!(
            (finding.severity, &*finding.message),
            (Severity::Ok, message)
        );
    }
    members.drain(1..3);
    assert_eq!(
        summary(&[members_finding(&[&a], &members)]),
        [(Severity::Ok, url("a"), "the cluster has one voting member")]
    );
}

#[test]
fn the_bugs_of_the_version_of_each_member_are_warnings_with_a_remedy() {
    let findings = |version: Option<&str>, members: Option<usize>| {
        let mut report = report("a", 1);
        report.facts.version = version.map(str::to_owned);
        report.members = members.map(|count| (0..count).map(|_| member("m")).collect());
        version_findings(&report)
    };
    for (version, severity, message) in [
        (
            Some("3.7.0"),
            Severity::Ok,
            "etcd 3.7.0 has no known bug that affects locks",
        ),
        (
            Some("latest"),
            Severity::Unknown,
            "the version of etcd is latest",
        ),
        (None, Severity::Unknown, "the version of etcd is not known"),
    ] {
        assert_eq!(
            summary(&findings(version, None)),
            [(severity, url("a"), message)]
        );
    }
    let [bug] = &findings(Some("3.6.8"), Some(3))[..] else {
        panic!("not one finding");
    };
    assert_eq!(bug.severity, Severity::Warning);
    assert!(bug.message.ends_with("(etcd-io/etcd #20418)"), "{bug:?}");
    assert_eq!(
        bug.remedy.as_deref(),
        Some("upgrade etcd to 3.6.9 or newer")
    );
    // A bug of clusters with a single member, which this may be.
    let single = |members| {
        let findings = findings(Some("3.5.4"), members);
        let mut messages = findings.iter().map(|finding| &finding.message);
        messages.any(|message| message.contains("#14370"))
    };
    assert_eq!([None, Some(1), Some(3)].map(single), [true, true, false]);

    let mut silent = report("a", 1);
    silent.facts.cluster_id = None;
    assert_eq!(version_findings(&silent), []);
    silent.facts.version = Some("3.7.0".into());
    assert_eq!(version_findings(&silent).len(), 1);
}

#[tokio::test]
async fn each_configured_endpoint_is_inspected() {
    let etcd = FakeEtcd::start([]).await;
    let settings = EtcdSettings {
        endpoints: vec![etcd.url(), "http://127.0.0.1:0".into()],
        cluster_id: None,
        ca_cert_path: None,
        client_cert: None,
        user: None,
    };
    let credentials = Credentials::load(settings).unwrap();
    let group = GroupName::new("g").unwrap();
    let report = inspect(&credentials, &group, Duration::from_secs(60)).await;
    let endpoints = report.endpoints.into_iter();
    assert_eq!(
        endpoints.map(|facts| facts.endpoint).collect::<Vec<_>>(),
        credentials.settings().endpoints
    );
}
