use super::*;
use crate::config::EtcdSettings;

#[test]
fn a_clock_that_differs_by_two_seconds_or_more_is_a_warning_with_its_direction() {
    let url = "http://etcd:2379";
    let settings = EtcdSettings {
        cluster_id: None,
        endpoints: vec![url.to_owned()],
        ca_cert_path: None,
        client_cert: None,
        user: None,
    };
    let credentials = Credentials::load(settings).unwrap();
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
