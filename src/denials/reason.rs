//! The reasons why clients are rejected.

use serde::{Serialize, Serializer};

/// The reason why a client is rejected. A node that has to wait, for a slot, a window or the store, is not rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum DenialReason {
    /// The group is not configured.
    UnknownGroup,
    /// The user does not exist, or has another password.
    WrongPassword,
    /// A password is required, and the request has none.
    NoCredentials,
    /// The user may not lock the group.
    Forbidden,
    /// The header of the protocol is missing, the body is malformed, or the id is not a valid one.
    InvalidIdentity,
    /// What the client sent is not a valid HTTP request.
    InvalidRequest,
    /// The body is too large.
    BodyTooLarge,
    /// The head or the body was not received in time.
    RequestTimeout,
    /// The head is too large.
    HeadersTooLarge,
    /// The path does not exist.
    NotFound,
    /// The method is not `POST`.
    MethodNotAllowed,
    /// In the TLS handshake, the client or the server rejected the other side's certificate.
    TlsCertificate,
    /// The TLS handshake failed for another reason.
    TlsHandshake,
    /// A connection was closed at a limit of connections, or of their memory.
    ConnectionLimit,
    /// Too many passwords or requests already wait.
    ServerBusy,
}

/// What a reason tells about the clients that are rejected for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relevance {
    /// They are most likely nodes that cannot update.
    Node,
    /// Many of them are most likely nodes; a few can be scanners.
    IfMany,
    /// They are most likely scanners and browsers.
    None,
}

// === impl DenialReason ===

impl DenialReason {
    /// All reasons, in the order of their declaration.
    pub(crate) const ALL: [DenialReason; 15] = [
        DenialReason::UnknownGroup,
        DenialReason::WrongPassword,
        DenialReason::NoCredentials,
        DenialReason::Forbidden,
        DenialReason::InvalidIdentity,
        DenialReason::InvalidRequest,
        DenialReason::BodyTooLarge,
        DenialReason::RequestTimeout,
        DenialReason::HeadersTooLarge,
        DenialReason::NotFound,
        DenialReason::MethodNotAllowed,
        DenialReason::TlsCertificate,
        DenialReason::TlsHandshake,
        DenialReason::ConnectionLimit,
        DenialReason::ServerBusy,
    ];

    /// Returns the word for programs, among them the label `reason` of the metric. It is the `kind` of the response
    /// where that tells the reason.
    pub(crate) fn label(self) -> &'static str {
        match self {
            DenialReason::UnknownGroup => "unknown_group",
            DenialReason::WrongPassword => "wrong_password",
            DenialReason::NoCredentials => "no_credentials",
            DenialReason::Forbidden => "forbidden",
            DenialReason::InvalidIdentity => "invalid_client_identity",
            DenialReason::InvalidRequest => "invalid_request",
            DenialReason::BodyTooLarge => "body_too_large",
            DenialReason::RequestTimeout => "request_timeout",
            DenialReason::HeadersTooLarge => "headers_too_large",
            DenialReason::NotFound => "not_found",
            DenialReason::MethodNotAllowed => "method_not_allowed",
            DenialReason::TlsCertificate => "tls_certificate",
            DenialReason::TlsHandshake => "tls_handshake",
            DenialReason::ConnectionLimit => "connection_limit",
            DenialReason::ServerBusy => "server_busy",
        }
    }

    /// Returns the reason with this label; `None` if a later version has added it.
    pub(crate) fn from_label(label: &str) -> Option<Self> {
        DenialReason::ALL
            .into_iter()
            .find(|reason| reason.label() == label)
    }

    /// Returns the words for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DenialReason::UnknownGroup => "unknown group",
            DenialReason::WrongPassword => "wrong user or password",
            DenialReason::NoCredentials => "no password",
            DenialReason::Forbidden => "user may not lock the group",
            DenialReason::InvalidIdentity => "invalid header, body or id",
            DenialReason::InvalidRequest => "no valid HTTP request",
            DenialReason::BodyTooLarge => "body too large",
            DenialReason::RequestTimeout => "request not received in time",
            DenialReason::HeadersTooLarge => "headers too large",
            DenialReason::NotFound => "no such path",
            DenialReason::MethodNotAllowed => "method not allowed",
            DenialReason::TlsCertificate => "TLS certificate rejected",
            DenialReason::TlsHandshake => "TLS handshake failed",
            DenialReason::ConnectionLimit => "limit of connections",
            DenialReason::ServerBusy => "server busy",
        }
    }

    /// Returns the relevance of the reason, as the alert AirlockClientsRejected tells them apart.
    pub(crate) fn relevance(self) -> Relevance {
        match self {
            DenialReason::UnknownGroup
            | DenialReason::WrongPassword
            | DenialReason::NoCredentials
            | DenialReason::Forbidden
            | DenialReason::InvalidIdentity
            | DenialReason::BodyTooLarge
            | DenialReason::HeadersTooLarge
            | DenialReason::TlsCertificate
            | DenialReason::ServerBusy => Relevance::Node,
            DenialReason::TlsHandshake => Relevance::IfMany,
            DenialReason::InvalidRequest
            | DenialReason::RequestTimeout
            | DenialReason::NotFound
            | DenialReason::MethodNotAllowed
            | DenialReason::ConnectionLimit => Relevance::None,
        }
    }

    /// Returns the place in [`DenialReason::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl Serialize for DenialReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_its_own_label_and_place() {
        let labels: HashSet<_> = DenialReason::ALL.map(DenialReason::label).into();
        assert_eq!(labels.len(), DenialReason::ALL.len());
        for (place, reason) in DenialReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
            assert_eq!(DenialReason::from_label(reason.label()), Some(reason));
        }
    }
}
