//! The facts that a member returns over HTTP: its version, which needs no user, and its clock, which gRPC does not
//! return.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use jiff::fmt::rfc2822;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::EtcdSettings;
use crate::tls;

/// The maximum number of bytes of a response. etcd sends about 200.
const MAX_RESPONSE: u64 = 4096;

/// The facts in the response of a member.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HttpFacts {
    /// The version of etcd.
    pub(super) version: Option<String>,
    /// The seconds by which the clock of the member is ahead of this machine's, at least; 0 if they may be equal.
    pub(super) clock_ahead_seconds: Option<i64>,
}

/// Requests `/version` of an endpoint. Whatever cannot be found out is absent: a proxy, or an etcd with
/// `--listen-client-http-urls`, replies to no HTTP on this port.
pub(super) async fn facts(url: &str, settings: &EtcdSettings) -> HttpFacts {
    request(url, settings).await.unwrap_or_default()
}

async fn request(url: &str, settings: &EtcdSettings) -> Option<HttpFacts> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16()?;
    let stream = TcpStream::connect((host, port)).await.ok()?;
    if uri.scheme_str() == Some("https") {
        let (ca, pair) = (settings.ca_cert_path.clone(), settings.client_cert.clone());
        let config = move || tls::client_config(ca.as_deref(), pair.as_ref());
        let config = tokio::task::spawn_blocking(config).await.ok()??;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.ok()?;
        exchange(stream, authority.as_str()).await
    } else {
        exchange(stream, authority.as_str()).await
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    authority: &str,
) -> Option<HttpFacts> {
    let request =
        format!("GET /version HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    let sent = SystemTime::now();
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut response = Vec::new();
    // Some servers end a TLS connection without an alert; what was received before counts.
    let _ = stream.take(MAX_RESPONSE).read_to_end(&mut response).await;
    let received = SystemTime::now();
    parse(&String::from_utf8_lossy(&response), (sent, received))
}

/// Takes the facts out of a response that was requested and received at these times.
fn parse(response: &str, times: (SystemTime, SystemTime)) -> Option<HttpFacts> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    if !lines.next()?.contains(" 200 ") {
        return None;
    }
    let date = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then_some(value.trim())
    });
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    Some(HttpFacts {
        version: body["etcdserver"].as_str().map(str::to_owned),
        clock_ahead_seconds: date.and_then(|date| clock_ahead(date, times)),
    })
}

/// Returns the smallest difference between the clocks that explains a `Date` in whole seconds in a response that was
/// requested and received at these times.
fn clock_ahead(date: &str, (sent, received): (SystemTime, SystemTime)) -> Option<i64> {
    let date = rfc2822::parse(date).ok()?.timestamp();
    let date = SystemTime::try_from(date).ok()?;
    // The header was written between the two times; its clock may already have been almost a second later.
    let latest = date + Duration::from_millis(999);
    if let Ok(ahead) = date.duration_since(received) {
        return i64::try_from(ahead.as_secs()).ok();
    }
    match sent.duration_since(latest) {
        Ok(behind) => i64::try_from(behind.as_secs()).ok().map(|seconds| -seconds),
        Err(_) => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const DATE: &str = "Tue, 24 Nov 2026 20:00:00 GMT";

    /// Returns the difference for a request that was sent and answered at these milliseconds after [`DATE`].
    fn ahead(sent: i64, received: i64) -> i64 {
        let date = rfc2822::parse(DATE).unwrap().timestamp();
        let at = |milliseconds| {
            SystemTime::try_from(date + jiff::SignedDuration::from_millis(milliseconds)).unwrap()
        };
        clock_ahead(DATE, (at(sent), at(received))).unwrap()
    }

    #[test]
    fn clocks_that_may_be_equal_have_no_difference() {
        for (sent, received) in [(0, 1), (-500, 10), (900, 1200), (-5000, 5000)] {
            assert_eq!(ahead(sent, received), 0, "{sent} {received}");
        }
    }

    #[test]
    fn the_difference_is_the_smallest_that_explains_the_date() {
        assert_eq!(ahead(-10_100, -10_000), 10);
        assert_eq!(ahead(10_999, 12_000), -10);
    }

    #[test]
    fn a_response_without_a_date_or_version_tells_what_it_has() {
        let now = SystemTime::now();
        let parse = |response| parse(response, (now, now));
        assert_eq!(parse("HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(parse("\0\0"), None);
        let empty = HttpFacts::default();
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\ndate: soon\r\n\r\nhello"),
            Some(empty)
        );
    }

    #[tokio::test]
    async fn a_member_whose_clock_is_wrong_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = EtcdSettings {
            cluster_id: None,
            endpoints: vec![url.clone()],
            ca_cert_path: None,
            client_cert: None,
            user: None,
        };
        let member = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            connection.read_exact(&mut request).await.unwrap();
            assert!(request.starts_with(b"GET /version "), "{request:?}");
            let body = r#"{"etcdserver":"3.5.1","etcdcluster":"3.5.0"}"#;
            let response =
                format!("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n{body}");
            connection.write_all(response.as_bytes()).await.unwrap();
        };
        let (facts, ()) = tokio::join!(facts(&url, &settings), member);
        assert_eq!(facts.version.as_deref(), Some("3.5.1"));
        let ahead = facts.clock_ahead_seconds.unwrap();
        assert!(ahead < -86_400, "{ahead}");
    }
}
