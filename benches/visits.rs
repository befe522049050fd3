//! Nodes as they come in a fleet: a connection for each request, since they ask more rarely than idle
//! connections last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::bench::{Bench, Case, lock, row};
use crate::load::{Load, Until, collect, read_answer};
use crate::server::{Server, usage};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::pki::Ca;

/// How many visit at a time, and how often each.
const VISITORS: usize = 64;
const VISITS: usize = 100;

/// Refusals, since they change nothing: plain, and over TLS 1.3 with an ECDSA certificate.
pub fn visits(bench: &mut Bench) {
    let etcd = Etcd::start();
    let ca = Ca::new("bench");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let limited = "[lock]\ndefault_slots = 1\n";
    let plain = Server::on_etcd(&etcd, limited);
    bench.send(plain.address(), vec![lock("default", "the-holder")]);
    let tls = Server::on_etcd_with_tls(&etcd, limited, &pair);
    for (case, server, connector) in [
        ("a connection for each refusal", plain, None),
        (
            "a TLS connection for each refusal",
            tls,
            Some(connector(&ca)),
        ),
    ] {
        let server = [server];
        let before = usage(&server, Some(&etcd));
        let load = bench.runtime.block_on(run(server[0].address(), connector));
        let used = usage(&server, Some(&etcd)).since(before);
        if let Some(failure) = &load.first_failure {
            println!("first failure: {failure}");
        }
        let case = Case {
            scenario: "visits",
            case: case.into(),
            writes: false,
            until: Until::Answers(VISITS as u64),
        };
        bench.report.row(row(&case, VISITORS, &load, used, None));
    }
}

/// Without resumption: hardly any node comes back while a ticket lasts.
fn connector(ca: &Ca) -> TlsConnector {
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
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

async fn run(server: SocketAddr, connector: Option<TlsConnector>) -> Load {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..VISITORS {
        let connector = connector.clone();
        tasks.spawn(async move {
            let request = lock("default", &format!("node-{number:05}"));
            let mut load = Load::default();
            for _ in 0..VISITS {
                let sent = Instant::now();
                match visit(server, connector.as_ref(), &request).await {
                    Ok(answer) => load.count(sent.elapsed(), &answer),
                    Err(error) => load.fail(&error.to_string()),
                }
            }
            load
        });
    }
    collect(tasks, began).await
}

async fn visit(
    server: SocketAddr,
    connector: Option<&TlsConnector>,
    request: &[u8],
) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    match connector {
        None => ask(stream, request).await,
        Some(connector) => {
            let name = ServerName::IpAddress(server.ip().into());
            ask(connector.connect(name, stream).await?, request).await
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
) -> std::io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut buffer = [0; 4096];
    Ok(read_answer(&mut stream, &mut buffer).await?.to_vec())
}
