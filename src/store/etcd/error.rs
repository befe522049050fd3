//! The errors of etcd: the endpoint, the cause found in the chain of errors, and the remedy where there is one.

use std::io::{self, ErrorKind};
use std::time::Duration;

use etcd_client::Error;
use rustls::{CertificateError, InvalidMessage};

use super::class::{
    AUTH_DISABLED, DENIED, ErrorClass, LEARNER, MESSAGE_TOO_LARGE, NO_SPACE, NO_USER, TOO_LARGE,
    TOO_MANY_OPERATIONS, WRONG_PASSWORD, sources,
};
use super::identity::Foreign;
use crate::config::ClusterId;

/// The command that gives a role the permission it needs.
pub(super) const GRANT: &str = "`etcdctl --user root role grant-permission ROLE --prefix=true readwrite \
                                com.coreos.airlock/groups/`";

/// The reason why the cluster returned no result. The message names each endpoint once.
#[derive(Debug, thiserror::Error)]
pub(super) enum EtcdError {
    /// Each endpoint that was tried failed.
    #[error("{}", join(.0))]
    Endpoints(Vec<EndpointError>),
    /// The endpoints belong to different clusters. `None`: the endpoint did not reply when it was asked last.
    #[error(
        "the endpoints did not all belong to the same etcd cluster, so no lock is granted: {}; remove the wrong ones from \
         etcd3.endpoints, or set etcd3.cluster_id to the right cluster; then restart the server",
        clusters(.0)
    )]
    Split(Vec<(String, Option<ClusterId>)>),
    /// etcd replied to something else than the request.
    #[error("etcd sent a malformed response: {0}")]
    MalformedResponse(&'static str),
    /// The stream of a watch failed.
    #[error("the watch on etcd failed")]
    WatchFailed(#[source] Error),
    /// The stream of a watch ended.
    #[error("the watch on etcd ended: etcd closed the stream")]
    WatchClosed,
    /// etcd canceled a watch.
    #[error("the watch on etcd ended: etcd canceled it: {reason}")]
    WatchCanceled { reason: String },
}

/// The reason why a call to one endpoint returned no result.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {problem}")]
pub(super) struct EndpointError {
    /// The endpoint, with its scheme.
    pub(super) url: String,
    /// The effect of the call, as far as is known.
    pub(super) class: ErrorClass,
    /// The cause.
    pub(super) problem: Problem,
}

/// The cause of a failed call to one endpoint. The message contains the remedy, but not the endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("no reply within {} ms", .0.as_millis())]
    NoReply(Duration),
    #[error("unreachable: {cause}")]
    Connect { cause: String },
    #[error("{}", certificate_text(.0))]
    Certificate(CertificateError),
    #[error(transparent)]
    Mismatch(Mismatch),
    #[error("etcd closed the connection ({cause}); if this happens every time: {mismatch}")]
    Closed { cause: String, mismatch: Mismatch },
    #[error("etcd closed the connection ({cause})")]
    Ended { cause: String },
    #[error("{}", foreign_text(.0))]
    Foreign(Foreign),
    #[error(
        "the endpoint does not return the id of its cluster; name the members of etcd in etcd3.endpoints, not a proxy"
    )]
    NoClusterId,
    #[error("the TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    #[error(
        "{DENIED} to the user {user:?}, which is the common name (CN) of the client certificate; create this user in \
         etcd, and grant a role of it access: {GRANT}"
    )]
    CertificateUserDenied { user: String },
    #[error("{}", status_text(.0))]
    Status(tonic::Status),
    #[error("{}", chain_text(.0))]
    Other(Error),
}

/// A difference between the settings of this server and those of etcd.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error(
        "the endpoint does not use TLS; write http:// in etcd3.endpoints, or give etcd a certificate (--cert-file, \
         --key-file)"
    )]
    PlainEndpoint,
    #[error("the endpoint uses TLS; write https:// in etcd3.endpoints")]
    TlsEndpoint,
    #[error(
        "etcd rejected the client certificate, or requires one; set etcd3.client_cert_pub_path and \
         etcd3.client_cert_key_path to a certificate that is signed by a CA in etcd's --trusted-ca-file"
    )]
    ClientCertificate,
}

/// Joins errors in the order of their endpoints.
fn join(errors: &[EndpointError]) -> String {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.join("; ")
}

fn clusters(endpoints: &[(String, Option<ClusterId>)]) -> String {
    let texts = endpoints.iter().map(|(url, id)| match id {
        Some(id) => format!("{url} belongs to {id}"),
        None => format!("{url} did not reply"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn foreign_text(foreign: &Foreign) -> String {
    let Foreign {
        found,
        expected,
        configured,
    } = foreign;
    if *configured {
        return format!(
            "the endpoint belongs to the etcd cluster {found}, but etcd3.cluster_id is \"{expected}\"; if etcd \
             was restored from a backup, follow docs/operations.md, \"Restore etcd\"; otherwise remove the endpoint from \
             etcd3.endpoints, or correct etcd3.cluster_id, and restart the server"
        );
    }
    format!(
        "the endpoint belongs to the etcd cluster {found}, but this server uses the cluster {expected}; if etcd \
         was restored from a backup, follow docs/operations.md, \"Restore etcd\", and then send SIGHUP to the server \
         while all endpoints reply, or restart it"
    )
}

/// Formats a status that etcd or the gRPC library returned, with its innermost cause: that one says more than the
/// layers around it.
fn status_text(status: &tonic::Status) -> String {
    let message = status.message();
    match sources(status).last().map(ToString::to_string) {
        Some(cause) if !message.contains(&cause) => {
            format!("{message}: {cause}{}", remedy(message))
        }
        _ if message.is_empty() => format!("gRPC status {:?}", status.code()),
        _ => format!("{message}{}", remedy(message)),
    }
}

/// Formats an error of the client with all its causes.
fn chain_text(error: &Error) -> String {
    let causes = causes(error).into_iter().map(|cause| format!(": {cause}"));
    error.to_string() + &causes.collect::<String>()
}

/// Returns the remedy for an error message of etcd.
fn remedy(message: &str) -> String {
    let remedy = match message {
        NO_SPACE => {
            "etcd is out of space: delete, compact and defragment, then run `etcdctl alarm disarm`; see \"Make room in \
             etcd\" in docs/operations.md"
        }
        DENIED => return format!("; grant a role of the etcd user access: {GRANT}"),
        NO_USER => "etcd requires a user: set etcd3.username and etcd3.password_path",
        WRONG_PASSWORD => {
            "check etcd3.username, and the password in the file that etcd3.password_path names"
        }
        AUTH_DISABLED => {
            "remove etcd3.username and etcd3.password_path, or run `etcdctl auth enable`"
        }
        LEARNER => {
            "the member is a learner, which serves no requests: promote it with `etcdctl member promote`"
        }
        TOO_MANY_OPERATIONS => {
            "a cap compares more groups than etcd allows in one transaction: start etcd with `--max-txn-ops 128`, which \
             is its default, or name fewer groups in lock.caps"
        }
        _ if message == TOO_LARGE || message.starts_with(MESSAGE_TOO_LARGE) => {
            "the value has too many holders: configure fewer slots, or a larger --max-request-bytes in etcd"
        }
        _ => return String::new(),
    };
    format!("; {remedy}")
}

fn certificate_text(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate of etcd is not signed by a trusted CA; set etcd3.ca_cert_path to the CA that signed it \
             (without this key, the CAs of the system are trusted)"
                .into()
        }
        CertificateError::NotValidForName => {
            "the certificate of etcd is not valid for this name; use a name of the certificate in etcd3.endpoints"
                .into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate of etcd is only valid for other names ({}); use one of them in etcd3.endpoints, or give \
             etcd a certificate for this name",
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
            format!(
                "the certificate of etcd expired{at}; replace it, or correct the clock of this machine"
            )
        }
        CertificateError::Expired => "the certificate of etcd has expired; replace it".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate of etcd is not valid yet; correct the clock of this machine, or reissue the certificate"
                .into()
        }
        other => format!("the certificate of etcd is not trusted: {other}"),
    }
}

// === impl EtcdError ===

impl EtcdError {
    /// Reports whether no endpoint replied.
    pub(super) fn is_down(&self) -> bool {
        let is_down = |error: &EndpointError| {
            matches!(error.problem, Problem::NoReply(_) | Problem::Connect { .. })
        };
        matches!(self, EtcdError::Endpoints(errors) if errors.iter().all(is_down))
    }
}

// === impl Problem ===

impl Problem {
    /// Reports whether etcd replied with this message.
    pub(super) fn is_status(&self, message: &str) -> bool {
        matches!(self, Problem::Status(status) if status.message() == message)
    }

    /// Reports whether etcd denied permission to the user, who may be that of the client certificate.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Problem::CertificateUserDenied { .. }) || self.is_status(DENIED)
    }

    /// Finds the cause of an error of a call to the endpoint `url`.
    pub(super) fn new(url: &str, error: Error) -> Self {
        let causes = causes(&error);
        let found = causes
            .iter()
            .find_map(|cause| tls_problem(*cause))
            .or_else(|| closed(url, &causes))
            .or_else(|| connect(&causes));
        match (found, error) {
            (Some(problem), _) => problem,
            (None, Error::GRpcStatus(status)) => Problem::Status(status),
            (None, other) => Problem::Other(other),
        }
    }
}

/// Returns the causes of an error of the client, which does not list them itself.
fn causes(error: &Error) -> Vec<&(dyn std::error::Error + 'static)> {
    match error {
        Error::GRpcStatus(status) => sources(status).collect(),
        Error::TransportError(error) => sources(error).collect(),
        _ => Vec::new(),
    }
}

/// Recognizes an error of TLS.
fn tls_problem(cause: &(dyn std::error::Error + 'static)) -> Option<Problem> {
    let error = match cause.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref()?.downcast_ref::<rustls::Error>()?,
        None => cause.downcast_ref::<rustls::Error>()?,
    };
    Some(match error {
        rustls::Error::InvalidCertificate(error) => Problem::Certificate(error.clone()),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Problem::Mismatch(Mismatch::PlainEndpoint)
        }
        rustls::Error::AlertReceived(_) => Problem::Closed {
            cause: error.to_string(),
            mismatch: Mismatch::ClientCertificate,
        },
        other => Problem::Handshake(other.clone()),
    })
}

/// Recognizes a connection that etcd closed, which is its only reply to the wrong protocol.
///
/// SUBTLE: etcd rejects a client certificate after the handshake: as an alert, as the text of an alert, or without
/// any. How the end of the connection appears here is a race: etcd may have read all data before it closes, or not.
fn closed(url: &str, causes: &[&(dyn std::error::Error + 'static)]) -> Option<Problem> {
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
        // An error of hyper, which has no public type.
        _ => text == "connection closed",
    };
    if !is_alert && !is_end {
        return None;
    }
    let connecting = causes.iter().any(|cause| cause.is::<tonic::ConnectError>());
    let mismatch = match (url.starts_with("https://"), connecting && !is_alert) {
        (true, true) => Mismatch::PlainEndpoint,
        (true, false) => Mismatch::ClientCertificate,
        (false, true) => return None,
        (false, false) => Mismatch::TlsEndpoint,
    };
    Some(Problem::Closed {
        cause: text,
        mismatch,
    })
}

/// Recognizes an endpoint to which no connection can be made.
fn connect(causes: &[&(dyn std::error::Error + 'static)]) -> Option<Problem> {
    let connecting = causes.iter().any(|cause| cause.is::<tonic::ConnectError>());
    let cause = causes.last().filter(|_| connecting)?.to_string();
    Some(Problem::Connect { cause })
}

#[cfg(test)]
mod tests;
