//! The reason why a TLS handshake with a client failed, for the operator: which side rejects the other one, and why.

use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

/// The reason why a handshake with a client failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The client says so, with the name of the alert in RFC 8446, section 6.
    #[error("the client does not trust the CA of the server's certificate (alert unknown_ca)")]
    ServerNotTrusted,
    #[error("the client rejects the server's certificate (alert {alert})")]
    ServerRejected { alert: &'static str },
    #[error("the client sent no certificate, but client_ca_path requires one")]
    NoClientCertificate,
    #[error("the client's certificate is not signed by a CA in client_ca_path")]
    ClientNotTrusted,
    #[error("the client's certificate has expired")]
    ClientExpired,
    #[error("the client's certificate is not valid yet")]
    ClientNotYetValid,
    #[error("the client's certificate is not one for clients")]
    ClientPurpose,
    #[error("the client's certificate cannot be used: {0}")]
    ClientInvalid(CertificateError),
    #[error("the client supports neither TLS 1.2 nor TLS 1.3")]
    Version,
    #[error("the client and the server share no TLS parameters: {0:?}")]
    Incompatible(PeerIncompatible),
    #[error("the client does not speak TLS; its URL may begin with http:// instead of https://")]
    NotTls,
    #[error("the client ended the handshake (alert {0:?})")]
    Alert(AlertDescription),
    #[error("the client closed the connection during the handshake")]
    Closed,
    #[error("the client did not complete the handshake in time")]
    TimedOut,
    #[error(transparent)]
    Protocol(rustls::Error),
    #[error(transparent)]
    Io(io::Error),
}

// === impl HandshakeError ===

impl HandshakeError {
    /// Reports whether one side rejected the certificate of the other one, or missed it.
    pub(crate) fn is_about_certificates(&self) -> bool {
        match self {
            HandshakeError::ServerNotTrusted
            | HandshakeError::ServerRejected { .. }
            | HandshakeError::NoClientCertificate
            | HandshakeError::ClientNotTrusted
            | HandshakeError::ClientExpired
            | HandshakeError::ClientNotYetValid
            | HandshakeError::ClientPurpose
            | HandshakeError::ClientInvalid(_) => true,
            HandshakeError::Version
            | HandshakeError::Incompatible(_)
            | HandshakeError::NotTls
            | HandshakeError::Alert(_)
            | HandshakeError::Closed
            | HandshakeError::TimedOut
            | HandshakeError::Protocol(_)
            | HandshakeError::Io(_) => false,
        }
    }
}

/// tokio-rustls returns an error of rustls as the inner one of an I/O error.
impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => error.into(),
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => HandshakeError::Closed,
                _ => HandshakeError::Io(error),
            },
        }
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => alert.into(),
            rustls::Error::NoCertificatesPresented => HandshakeError::NoClientCertificate,
            rustls::Error::InvalidCertificate(error) => error.into(),
            rustls::Error::PeerIncompatible(error) => error.into(),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                HandshakeError::NotTls
            }
            error => HandshakeError::Protocol(error),
        }
    }
}

impl From<AlertDescription> for HandshakeError {
    fn from(alert: AlertDescription) -> Self {
        let alert = match alert {
            AlertDescription::UnknownCA => return HandshakeError::ServerNotTrusted,
            AlertDescription::BadCertificate => "bad_certificate",
            AlertDescription::UnsupportedCertificate => "unsupported_certificate",
            AlertDescription::CertificateRevoked => "certificate_revoked",
            AlertDescription::CertificateExpired => "certificate_expired",
            AlertDescription::CertificateUnknown => "certificate_unknown",
            AlertDescription::ProtocolVersion => return HandshakeError::Version,
            alert => return HandshakeError::Alert(alert),
        };
        HandshakeError::ServerRejected { alert }
    }
}

impl From<CertificateError> for HandshakeError {
    fn from(error: CertificateError) -> Self {
        match error {
            // A CA with the same name, and another key, made the signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                HandshakeError::ClientNotTrusted
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                HandshakeError::ClientExpired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                HandshakeError::ClientNotYetValid
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                HandshakeError::ClientPurpose
            }
            error => HandshakeError::ClientInvalid(error),
        }
    }
}

impl From<PeerIncompatible> for HandshakeError {
    fn from(error: PeerIncompatible) -> Self {
        match error {
            // A client hello of TLS 1.1 does not have that extension, which is checked before the version.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired => HandshakeError::Version,
            error => HandshakeError::Incompatible(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text, and whether it is about certificates. tests/it/denials/ contains the others.
    fn explained(error: rustls::Error) -> (String, bool) {
        let error = HandshakeError::from(io::Error::new(ErrorKind::InvalidData, error));
        (error.to_string(), error.is_about_certificates())
    }

    #[test]
    fn an_alert_of_the_client_is_about_certificates_if_it_rejects_the_one_of_the_server() {
        use rustls::Error::AlertReceived;
        let rejected = |alert| {
            (
                format!("the client rejects the server's certificate (alert {alert})"),
                true,
            )
        };
        for (alert, expected) in [
            (AlertDescription::BadCertificate, "bad_certificate"),
            (
                AlertDescription::UnsupportedCertificate,
                "unsupported_certificate",
            ),
            (AlertDescription::CertificateRevoked, "certificate_revoked"),
            (AlertDescription::CertificateExpired, "certificate_expired"),
            (AlertDescription::CertificateUnknown, "certificate_unknown"),
        ] {
            assert_eq!(explained(AlertReceived(alert)), rejected(expected));
        }
        let (text, is_about_certificates) = explained(AlertReceived(AlertDescription::DecodeError));
        assert_eq!(text, "the client ended the handshake (alert DecodeError)");
        assert!(!is_about_certificates);
        let version = explained(AlertReceived(AlertDescription::ProtocolVersion)).0;
        assert_eq!(version, HandshakeError::Version.to_string());
    }

    #[test]
    fn the_certificate_of_a_client_is_rejected_for_a_reason() {
        use rustls::Error::InvalidCertificate;
        for (error, expected) in [
            (
                CertificateError::BadSignature,
                HandshakeError::ClientNotTrusted,
            ),
            (
                CertificateError::NotValidYet,
                HandshakeError::ClientNotYetValid,
            ),
            (
                CertificateError::InvalidPurpose,
                HandshakeError::ClientPurpose,
            ),
            (
                CertificateError::BadEncoding,
                HandshakeError::ClientInvalid(CertificateError::BadEncoding),
            ),
        ] {
            assert_eq!(
                explained(InvalidCertificate(error)),
                (expected.to_string(), true)
            );
        }
    }

    #[test]
    fn any_other_error_is_named_and_not_about_certificates() {
        let incompatible = PeerIncompatible::NoCipherSuitesInCommon;
        let shared = "the client and the server share no TLS parameters: NoCipherSuitesInCommon";
        assert_eq!(explained(incompatible.into()), (shared.into(), false));
        let decrypt = rustls::Error::DecryptError;
        assert_eq!(explained(decrypt.clone()), (decrypt.to_string(), false));
        let failed = HandshakeError::from(io::Error::other("x"));
        assert_eq!(
            (failed.to_string().as_str(), failed.is_about_certificates()),
            ("x", false)
        );
    }
}
