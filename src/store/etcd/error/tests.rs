//! The messages about etcd: cause and remedy.

use std::sync::Arc;

use airlock_test_support::pki::Ca;
use etcd_client::{Client, ConnectOptions, Identity, TlsOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tonic::transport::Endpoint;

use super::*;

/// Returns the message about an endpoint that reads `read` bytes of each connection and closes it.
async fn message(scheme: &str, read: usize, reset: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let endpoint = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read_exact(&mut vec![0; read]).await;
            if reset {
                let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
            }
        }
    };
    let options = match scheme {
        "https" => ConnectOptions::new().with_tls(TlsOptions::new()),
        _ => ConnectOptions::new(),
    };
    let call = async {
        let client = Client::connect([&url], Some(options)).await?;
        client.kv_client().get("key", None).await
    };
    tokio::select! {
        () = endpoint => unreachable!(),
        result = call => Problem::new(&url, result.unwrap_err()).to_string(),
    }
}

#[tokio::test]
async fn the_wrong_protocol_is_recognized_however_etcd_closes_the_connection() {
    for (scheme, mismatch) in [
        ("http", Mismatch::TlsEndpoint),
        ("https", Mismatch::PlainEndpoint),
    ] {
        // The kernel sends a reset if unread data is left, or if it is told to.
        for (read, reset) in [(0, false), (5, false), (40, false), (40, true)] {
            let message = message(scheme, read, reset).await;
            assert!(
                message.contains(&mismatch.to_string()),
                "{scheme} {read} {reset}: {message}"
            );
        }
    }
}

/// Returns the cause found in the error of a call to the endpoint `url`.
async fn problem_of_call(url: &str) -> Problem {
    let options = ConnectOptions::new().with_tls(TlsOptions::new());
    let options = url.starts_with("https://").then_some(options);
    let call = async {
        let client = Client::connect([url], options).await?;
        client.kv_client().get("key", None).await
    };
    Problem::new(url, call.await.unwrap_err())
}

#[tokio::test]
async fn an_endpoint_on_which_nothing_listens_is_unreachable() {
    // A port that is bound stays free of other listeners.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    bound.bind(&any.into()).unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap();
    let problem = problem_of_call(&format!("http://{address}")).await;
    let Problem::Connect { cause } = &problem else {
        panic!("{problem:?}");
    };
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn an_endpoint_that_replies_without_tls_is_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let endpoint = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let reply = b"HTTP/1.0 400 Bad Request\r\n\r\n";
            connection.write_all(reply).await.unwrap();
            let _ = connection.read_to_end(&mut Vec::new()).await;
        }
    };
    tokio::select! {
        () = endpoint => unreachable!(),
        problem = problem_of_call(&url) => {
            let is_plain = matches!(problem, Problem::Mismatch(Mismatch::PlainEndpoint));
            assert!(is_plain, "{problem:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_recognized() {
    let ca = Ca::new("unknown");
    let pair = ca.issue("etcd", &["127.0.0.1"]);
    let certificate = CertificateDer::from_pem_file(&pair.cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let endpoint = async {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(connection).await;
        }
    };
    tokio::select! {
        () = endpoint => unreachable!(),
        problem = problem_of_call(&url) => {
            let expected = Problem::Certificate(CertificateError::UnknownIssuer);
            assert_eq!(problem.to_string(), expected.to_string());
        }
    }
}

#[test]
fn each_message_of_etcd_with_a_remedy_ends_with_it() {
    for (message, remedy) in [
        (
            "etcdserver: mvcc: database space exceeded",
            "delete, compact and defragment, then run `etcdctl alarm disarm`; see \"Make room in etcd\" in \
             docs/operations.md",
        ),
        (
            "etcdserver: permission denied",
            "`etcdctl --user root role grant-permission",
        ),
        (
            "etcdserver: user name is empty",
            "set etcd3.username and etcd3.password_path",
        ),
        (
            "etcdserver: authentication failed, invalid user ID or password",
            "the password in the file that etcd3.password_path names",
        ),
        (
            "etcdserver: authentication is not enabled",
            "or run `etcdctl auth enable`",
        ),
        (
            "etcdserver: rpc not supported for learner",
            "`etcdctl member promote`",
        ),
        (
            "etcdserver: request is too large",
            "configure fewer slots, or a larger --max-request-bytes",
        ),
        (
            "etcdserver: too many operations in txn request",
            "name fewer groups in lock.caps",
        ),
        (
            "grpc: received message larger than max (2097163 vs. 2097152)",
            "configure fewer slots, or a larger --max-request-bytes",
        ),
    ] {
        let text = Problem::Status(Status::unknown(message)).to_string();
        let found = text.strip_prefix(message).unwrap();
        assert!(
            found.starts_with("; ") && found.contains(remedy),
            "{message}: {found}"
        );
    }
}

#[test]
fn a_status_is_named_by_its_message_with_the_innermost_cause() {
    let caused = |message: &str, cause: &str| {
        let mut status = Status::unavailable(message);
        status.set_source(Arc::new(io::Error::other(cause)));
        status
    };
    for (status, text) in [
        (
            Status::unavailable("etcdserver: request timed out"),
            "etcdserver: request timed out",
        ),
        (Status::unavailable(""), "gRPC status Unavailable"),
        (
            caused("transport error", "broken pipe"),
            "transport error: broken pipe",
        ),
        (
            caused("error: broken pipe", "broken pipe"),
            "error: broken pipe",
        ),
    ] {
        assert_eq!(Problem::Status(status).to_string(), text);
    }
}

#[test]
fn an_error_of_the_client_is_named_with_all_its_causes() {
    let tls = TlsOptions::new().identity(Identity::from_pem("no certificate", "no key"));
    let endpoint = Endpoint::from_static("https://etcd.example");
    let error = endpoint.tls_config(tls).unwrap_err();
    let cause = sources(&error).last().unwrap().to_string();
    let text = Problem::new("https://etcd.example", Error::TransportError(error)).to_string();
    assert_eq!(text, format!("transport error: transport error: {cause}"));
}

#[test]
fn the_problem_of_a_certificate_is_named_with_its_remedy() {
    use CertificateError as E;
    let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let (not_after, now) = (time(1_767_225_600), time(1_767_225_601));
    let expected = rustls::pki_types::ServerName::try_from("other.example").unwrap();
    let presented = vec![r#"DnsName("etcd.example")"#.to_owned(), "odd".to_owned()];
    for (error, part) in [
        (E::UnknownIssuer, "set etcd3.ca_cert_path to the CA"),
        (E::BadSignature, "set etcd3.ca_cert_path to the CA"),
        (E::NotValidForName, "use a name of the certificate"),
        (
            E::NotValidForNameContext {
                expected,
                presented,
            },
            "for other names (etcd.example, odd); use one of them",
        ),
        (
            E::ExpiredContext {
                time: now,
                not_after,
            },
            "expired at 2026-01-01T00:00:00Z; replace it",
        ),
        (E::Expired, "has expired; replace it"),
        (E::NotValidYet, "correct the clock of this machine"),
        (E::Revoked, "is not trusted: "),
    ] {
        let text = Problem::Certificate(error).to_string();
        assert!(text.contains(part), "{text}");
    }
}

/// Returns the error of a call to two endpoints.
fn endpoints(problem_of_b: Problem, problem_of_a: Problem) -> EtcdError {
    let error = |url: &str, problem| EndpointError {
        url: url.into(),
        class: ErrorClass::Unreachable,
        problem,
    };
    EtcdError::Endpoints(vec![
        error("http://b", problem_of_b),
        error("http://a", problem_of_a),
    ])
}

fn no_reply() -> Problem {
    Problem::NoReply(Duration::from_millis(40))
}

fn refused() -> Problem {
    let cause = "refused".into();
    Problem::Connect { cause }
}

#[test]
fn the_endpoints_are_named_in_order_each_with_its_problem() {
    assert_eq!(
        endpoints(no_reply(), refused()).to_string(),
        "http://a: unreachable: refused; http://b: no reply within 40 ms"
    );
}

#[test]
fn etcd_is_down_only_if_no_endpoint_replied() {
    let status = || Problem::Status(Status::unavailable("etcdserver: no leader"));
    assert!(endpoints(no_reply(), refused()).is_down());
    assert!(!endpoints(no_reply(), status()).is_down());
    assert!(!endpoints(status(), status()).is_down());
    assert!(!EtcdError::WatchClosed.is_down());
}

#[test]
fn endpoints_of_different_clusters_are_named_each_with_its_cluster() {
    let endpoint = |url: &str, id: Option<u64>| (url.to_owned(), id.map(ClusterId));
    let endpoints = [
        endpoint("http://a", Some(1)),
        endpoint("http://b", Some(2)),
        endpoint("http://c", None),
    ];
    let text = EtcdError::Split(endpoints.to_vec()).to_string();
    let clusters = "http://a belongs to 1, http://b belongs to 2, http://c did not reply;";
    assert!(text.contains(clusters), "{text}");
}

#[test]
fn an_endpoint_of_another_cluster_is_explained_by_the_setting_or_by_a_restored_backup() {
    let text = |configured| {
        let foreign = Foreign {
            found: ClusterId(2),
            expected: ClusterId(1),
            configured,
        };
        Problem::Foreign(foreign).to_string()
    };
    let found = "the endpoint belongs to the etcd cluster 2, but";
    let configured = "etcd3.cluster_id is \"1\"; if etcd was restored from a backup, follow docs/operations.md, \
                      \"Restore etcd\"; otherwise remove the endpoint from etcd3.endpoints, or correct \
                      etcd3.cluster_id, and restart the server";
    assert_eq!(text(true), format!("{found} {configured}"));
    let restored = format!("{found} this server uses the cluster 1; if etcd was restored");
    assert!(text(false).starts_with(&restored), "{}", text(false));
}
