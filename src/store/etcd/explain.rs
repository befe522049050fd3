//! What went wrong with an endpoint, in words, down to the cause, with the remedy where there is one.

use std::io::{self, ErrorKind};

use etcd_client::Error;
use rustls::{CertificateError, InvalidMessage};

const NO_TLS: &str = "it does not speak TLS; write http:// in etcd3.endpoints, or give etcd a \
                      certificate (--cert-file, --key-file)";
const SPEAKS_TLS: &str = "it speaks TLS: write https:// in etcd3.endpoints";
const NOT_OUR_CERTIFICATE: &str = "it does not accept our client certificate, or misses one: \
                                   etcd3.client_cert_pub_path and etcd3.client_cert_key_path must \
                                   name one that is signed by etcd's --trusted-ca-file";

/// The causes of an error, outermost first.
pub fn sources(
    error: &dyn std::error::Error,
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |source| (*source).source())
}

/// An error of a call to the endpoint `url`, without the endpoint's name.
pub fn explain(url: &str, error: &Error) -> String {
    let causes: Vec<_> = match error {
        Error::GRpcStatus(status) => sources(status).collect(),
        Error::TransportError(error) => sources(error).collect(),
        _ => Vec::new(),
    };
    if let Some(text) = causes.iter().find_map(|cause| tls(*cause)) {
        return text;
    }
    if let Some(text) = closed(url, &causes) {
        return text;
    }
    let Error::GRpcStatus(status) = error else {
        let causes = causes.iter().map(|cause| format!(": {cause}"));
        return error.to_string() + &causes.collect::<String>();
    };
    let message = status.message();
    // tonic's own words ("tcp connect error") matter less than the innermost cause.
    match causes.last().map(ToString::to_string) {
        Some(cause) if !message.contains(&cause) => {
            format!("{message}: {cause}{}", remedy(message))
        }
        _ if message.is_empty() => format!("gRPC status {:?}", status.code()),
        _ => format!("{message}{}", remedy(message)),
    }
}

fn remedy(message: &str) -> &'static str {
    match message {
        "etcdserver: mvcc: database space exceeded" => {
            " (etcd is out of space: compact, defragment, then `etcdctl alarm disarm`)"
        }
        "etcdserver: permission denied" => {
            " (this etcd user needs read and write on the prefix com.coreos.airlock/groups/)"
        }
        "etcdserver: user name is empty" => {
            " (etcd demands a user: set etcd3.username and etcd3.password_path)"
        }
        "etcdserver: authentication failed, invalid user ID or password" => {
            " (check etcd3.username and the file etcd3.password_path)"
        }
        "etcdserver: authentication is not enabled" => {
            " (etcd has no users: remove etcd3.username and etcd3.password_path, or `etcdctl auth enable`)"
        }
        "etcdserver: request is too large" => {
            " (too many holders for one value: fewer slots, or a larger --max-request-bytes in etcd)"
        }
        _ => "",
    }
}

/// A connection that etcd closed, which is all that it does about the wrong protocol. What it thinks of our
/// certificate comes after the handshake: as an alert, as the text of one, or lost. Which of the ways to end
/// a connection is seen here is a race: etcd may have read all that we sent, or not, before it closes.
fn closed(url: &str, causes: &[&(dyn std::error::Error + 'static)]) -> Option<String> {
    let cause = causes.last()?;
    let text = cause.to_string();
    let is_alert = text.starts_with("received fatal alert");
    let is_end = match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(
            ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof,
        ) => true,
        // hyper's, which has no type.
        _ => text == "connection closed",
    };
    if !is_alert && !is_end {
        return None;
    }
    let connecting = causes.iter().any(|cause| cause.is::<tonic::ConnectError>());
    let remedy = match (url.starts_with("https://"), connecting && !is_alert) {
        (true, true) => NO_TLS,
        (true, false) => NOT_OUR_CERTIFICATE,
        (false, true) => return None,
        (false, false) => SPEAKS_TLS,
    };
    Some(closed_and(&text, remedy))
}

fn closed_and(text: &str, remedy: &str) -> String {
    format!("it closed the connection ({text}); where it does so each time, {remedy}")
}

/// What TLS has to say, if the cause is there.
fn tls(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let error = match cause.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref()?.downcast_ref::<rustls::Error>()?,
        None => cause.downcast_ref::<rustls::Error>()?,
    };
    Some(match error {
        rustls::Error::InvalidCertificate(problem) => certificate(problem),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => NO_TLS.into(),
        rustls::Error::AlertReceived(_) => closed_and(&error.to_string(), NOT_OUR_CERTIFICATE),
        other => format!("no TLS with it: {other}"),
    })
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by a CA that is trusted here; name its CA in \
             etcd3.ca_cert_path (without it the system's CAs are trusted)"
                .into()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name; write the name that the certificate has".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is for other names ({}); write one of them in etcd3.endpoints, or give \
             etcd a certificate with this one",
            // rustls writes `DnsName("etcd.example")`.
            presented
                .iter()
                .map(|name| name.split('"').nth(1).unwrap_or(name))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            let at = i64::try_from(not_after.as_secs())
                .ok()
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            let at = at.map_or_else(String::new, |at| format!(" at {at}"));
            format!("its certificate expired{at}; give etcd a new one, or correct the clock here")
        }
        CertificateError::Expired => "its certificate has expired; give etcd a new one".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; correct the clock here, or that of who made it"
                .into()
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::{Client, ConnectOptions, TlsOptions};
    use socket2::SockRef;
    use std::time::Duration;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    /// What is said of an endpoint that reads so many bytes of each connection and closes it.
    async fn said(scheme: &str, read: usize, reset: bool) -> String {
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
            result = call => explain(&url, &result.unwrap_err()),
        }
    }

    #[tokio::test]
    async fn the_wrong_protocol_is_named_however_etcd_closes_the_connection() {
        for (scheme, remedy) in [("http", SPEAKS_TLS), ("https", NO_TLS)] {
            // What is left unread, or wanted so, makes the kernel send a reset.
            for (read, reset) in [(0, false), (5, false), (40, false), (40, true)] {
                let said = said(scheme, read, reset).await;
                assert!(said.contains(remedy), "{scheme} {read} {reset}: {said}");
            }
        }
    }
}
