//! TLS of the listeners: the cipher suite, and the resumption of sessions.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
};

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::pki::{Ca, Pair};

fn start(pair: &Pair, more: &str) -> Airlock {
    let (cert, key) = (&pair.cert, &pair.key);
    let tls = format!("tls_cert_path = {cert:?}\ntls_key_path = {key:?}\n{more}");
    let listen = LISTEN.replacen("tls = false", &tls, 1);
    let store = "[embedded]\npath = \"{folder}/airlock.db\"\n";
    Airlock::start_with(&format!("{listen}{store}"), &["-vv"])
}

fn client(ca: &Path, pair: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap();
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Arc::new(config)
}

/// Sends a request on a new connection. Returns the cipher suite, and whether a session was resumed.
fn connect(airlock: &Airlock, client: &Arc<ClientConfig>) -> (CipherSuite, HandshakeKind) {
    let address = airlock.url();
    let socket = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let tls = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut stream = StreamOwned::new(tls, socket);
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 404 "));
    let suite = stream.conn.negotiated_cipher_suite().unwrap();
    (suite.suite(), stream.conn.handshake_kind().unwrap())
}

#[test]
fn a_client_that_returns_resumes_its_session_with_the_cheapest_cipher_suite() {
    let ca = Ca::new("ca");
    let airlock = start(&ca.issue("server", &["127.0.0.1"]), "");
    let client = client(&ca.path(), None);
    let suite = CipherSuite::TLS13_AES_128_GCM_SHA256;
    assert_eq!(connect(&airlock, &client), (suite, HandshakeKind::Full));
    for _ in 0..3 {
        assert_eq!(connect(&airlock, &client), (suite, HandshakeKind::Resumed));
    }
}

#[test]
fn the_certificate_of_a_client_is_verified_for_each_connection() {
    let ca = Ca::new("ca");
    let clients = Ca::new("clients");
    let more = format!("client_ca_path = {:?}", clients.path());
    let airlock = start(&ca.issue("server", &["127.0.0.1"]), &more);
    let client = client(&ca.path(), Some(&clients.issue("node", &["node"])));
    for _ in 0..2 {
        assert_eq!(connect(&airlock, &client).1, HandshakeKind::Full);
    }
}
