//! A web server of which each path behaves in another way, with or without TLS.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use airlock_test_support::pki::{Ca, Pair};

/// The number of series that `/metrics` has under the name `many`.
pub(super) const MANY: usize = 10_000;

/// Starts a server without TLS, which runs until the tests end.
pub(super) fn start() -> SocketAddr {
    serve(|stream| answer(&stream, &stream))
}

/// Starts a server with TLS, which accepts only clients with a certificate of `ca`.
pub(super) fn start_tls(ca: &Ca, pair: &Pair) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca.path()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&pair.cert).unwrap()],
            PrivateKeyDer::from_pem_file(&pair.key).unwrap(),
        );
    let config = Arc::new(config.unwrap());
    serve(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let Some(head) = read_head(&mut stream) else {
            return;
        };
        let _ = stream.write_all(&reply(&head).unwrap());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    })
}

fn serve(connection: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connection = Arc::new(connection);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection(stream.unwrap()));
        }
    });
    address
}

fn answer(mut reader: impl Read, mut writer: impl Write) {
    let Some(head) = read_head(&mut reader) else {
        return;
    };
    match reply(&head) {
        // The client may have closed the connection, because it has read enough.
        Some(reply) => drop(writer.write_all(&reply)),
        // Until the client gives up.
        None => drop(reader.read(&mut [0])),
    }
}

/// Reads the head of a request; `None`: the client has sent none.
fn read_head(reader: &mut impl Read) -> Option<String> {
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1, reader);
    loop {
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return None,
            Ok(_) if head.ends_with("\r\n\r\n") => return Some(head),
            Ok(_) => {}
        }
    }
}

/// Returns the response to a request; `None`: there is none.
fn reply(head: &str) -> Option<Vec<u8>> {
    let path = head.split([' ', '?']).nth(1).unwrap();
    let authorized = |value: &str| {
        let header = format!("\r\nauthorization: {value}\r\n");
        if head.contains(&header) {
            response("204 No Content", "", "")
        } else {
            response("401 Unauthorized", "", "")
        }
    };
    Some(match path {
        "/open" => response("204 No Content", "", ""),
        "/closed" => response(
            "503 Service Unavailable",
            "",
            "\r\n  replica lag is \x1b[31m120 s\r\nmore",
        ),
        "/page" => response("500 Internal Server Error", "", "<html>\nsorry"),
        "/redirect" => response("302 Found", "location: /open\r\n", ""),
        "/slow" => {
            thread::sleep(Duration::from_millis(300));
            response("200 OK", "", "fine")
        }
        "/hang" => return None,
        "/short" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine".into(),
        "/large" => response("200 OK", "", &"x".repeat((1 << 20) + 1)),
        "/largest" => response("200 OK", "", &"x".repeat(1 << 20)),
        // "me:secret" in Base64.
        "/basic" => authorized("Basic bWU6c2VjcmV0"),
        "/bearer" => authorized("Bearer token"),
        "/metrics" => {
            let many = |n| format!("many{{n=\"{n}\",padding=\"{}\"}} 1\n", "x".repeat(80));
            let many: String = (0..MANY).map(many).collect();
            response("200 OK", "", &format!("firing 1\n{many}"))
        }
        _ => response("404 Not Found", "", "404 page not found"),
    })
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into()
}
