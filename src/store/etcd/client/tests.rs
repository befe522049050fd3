use std::io::{self, ErrorKind};

use airlock_test_support::pki::Ca;
use tonic::Status;

use super::super::fake::credentials;
use super::*;
use crate::config::{EtcdSettings, KeyPair};

#[test]
fn a_closed_connection_means_the_wrong_protocol_only_before_the_first_reply() {
    let url = "http://etcd.example:2379";
    let identity = Arc::new(Identity::new(None));
    let credentials = credentials(None);
    let client = EndpointClient::new(
        url.into(),
        credentials,
        Arc::clone(&identity),
        Duration::ZERO,
    );
    let problem = || {
        let cause = io::Error::from(ErrorKind::ConnectionReset);
        let status = Status::from_error(Box::new(cause));
        client.problem(Error::GRpcStatus(status)).to_string()
    };
    assert!(problem().contains("the endpoint uses TLS"), "{}", problem());
    identity.record(url, ClusterId(1)).unwrap();
    assert_eq!(problem(), "etcd closed the connection (connection reset)");
}

#[test]
fn the_user_of_the_certificate_is_named_only_if_permission_is_denied() {
    let ca = Ca::new("ca");
    let pair = ca.issue("rack-7", &[]);
    let url = "https://etcd.example:2379";
    let settings = EtcdSettings {
        endpoints: vec![url.into()],
        cluster_id: None,
        ca_cert_path: Some(ca.path()),
        client_cert: Some(KeyPair {
            cert_path: pair.cert,
            key_path: pair.key,
        }),
        user: None,
    };
    let credentials = Arc::new(Credentials::load(settings).unwrap());
    let identity = Arc::new(Identity::new(None));
    let client = EndpointClient::new(url.into(), credentials, identity, Duration::ZERO);
    for (message, names_user) in [
        ("etcdserver: permission denied", true),
        ("etcdserver: no leader", false),
    ] {
        let status = Status::unknown(message);
        let text = client.problem(Error::GRpcStatus(status)).to_string();
        assert!(text.starts_with(message), "{text}");
        assert_eq!(text.contains(r#"the user "rack-7""#), names_user, "{text}");
    }
}
