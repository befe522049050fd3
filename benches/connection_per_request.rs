//! A new connection for each request, as in a real fleet: nodes send requests less often than idle connections
//! are kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
};

use crate::harness::{Bench, Case, lock, row};
use crate::load::{Load, SharedLoad, Until, finish, read_response};
use crate::server::{Server, usage};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::pki::{Ca, Pair};

/// The number of concurrent clients.
const CLIENTS: usize = 64;
/// The number of requests of each client.
const REQUESTS: usize = 100;

/// The number of handshakes without a server.
const HANDSHAKES: u32 = 2000;

/// Measures refusals, which do not change the store: over plain HTTP, and over TLS 1.3 with an ECDSA certificate, with
/// and without resumption of an earlier session. A handshake without a server is the unit to compare with.
pub(crate) fn connection_per_request(bench: &mut Bench) {
    let etcd = Etcd::start();
    let ca = Ca::new("bench");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let limited = "[lock]\ndefault_slots = 1\n";
    let plain = Server::on_etcd(&etcd, limited);
    bench.send(plain.address(), vec![lock("default", "the-holder")]);
    let tls = Server::on_etcd_with_tls(&etcd, limited, &pair);
    let (plain, tls) = ([plain], [tls]);
    let none = Resumption::disabled();
    for (case, server, resumption) in [
        ("refusal", &plain, None),
        ("refusal over TLS", &tls, Some(none)),
        (
            "refusal over TLS, resumed",
            &tls,
            Some(Resumption::default()),
        ),
    ] {
        let connector = resumption.map(|resumption| TlsConnector::from(client(&ca, resumption)));
        let before = usage(server, Some(&etcd));
        let load = bench.runtime.block_on(run(server[0].address(), connector));
        let used = usage(server, Some(&etcd)).since(before);
        if let Some(failure) = &load.first_failure {
            println!("first failure: {failure}");
        }
        let case = Case {
            scenario: "connection-per-request",
            case: case.into(),
            writes: false,
            until: Until::Responses(REQUESTS as u64),
        };
        bench.report.row(row(&case, CLIENTS, &load, used, None));
    }
    let client = client(&ca, Resumption::disabled());
    let microseconds = bare_handshake(&client, &pair).as_secs_f64() * 1e6;
    let case = "server's part of a TLS handshake";
    bench
        .report
        .fact("connection-per-request", case, microseconds, "us");
}

/// Returns the time of the server's part of a handshake in memory, with the defaults of rustls.
fn bare_handshake(client: &Arc<ClientConfig>, pair: &Pair) -> Duration {
    let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let mut spent = Duration::ZERO;
    for _ in 0..HANDSHAKES {
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let began = Instant::now();
        let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
        spent += began.elapsed();
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sent).unwrap();
            }
            let (mut sent, mut returned) = (&sent[..], Vec::new());
            let began = Instant::now();
            while !sent.is_empty() {
                server.read_tls(&mut sent).unwrap();
                server.process_new_packets().unwrap();
            }
            while server.wants_write() {
                server.write_tls(&mut returned).unwrap();
            }
            spent += began.elapsed();
            let mut returned = &returned[..];
            while !returned.is_empty() {
                client.read_tls(&mut returned).unwrap();
                client.process_new_packets().unwrap();
            }
        }
    }
    spent / HANDSHAKES
}

fn client(ca: &Ca, resumption: Resumption) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca.path()).unwrap())
        .unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Arc::new(config)
}

async fn run(server: SocketAddr, connector: Option<TlsConnector>) -> Load {
    let load = SharedLoad::default();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let (connector, load) = (connector.clone(), Arc::clone(&load));
        tasks.spawn(async move {
            let request = lock("default", &format!("node-{number:05}"));
            for _ in 0..REQUESTS {
                let sent = Instant::now();
                match send(server, connector.as_ref(), &request).await {
                    Ok(response) => {
                        load.lock().unwrap().count(sent.elapsed(), &response);
                    }
                    Err(error) => load.lock().unwrap().fail(&error.to_string()),
                }
            }
        });
    }
    finish(tasks, load, began).await
}

async fn send(
    server: SocketAddr,
    connector: Option<&TlsConnector>,
    request: &[u8],
) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    match connector {
        None => exchange(stream, request).await,
        Some(connector) => {
            let name = ServerName::IpAddress(server.ip().into());
            exchange(connector.connect(name, stream).await?, request).await
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
) -> std::io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut buffer = [0; 4096];
    Ok(read_response(&mut stream, &mut buffer).await?.to_vec())
}
