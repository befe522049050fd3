//! Certificates and keys from files, with aws-lc-rs as the only TLS provider in this program.

mod client;
mod handshake;
mod pem;
mod server;

use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::pki_types::pem as pem_types;

use crate::file::FileError;
use crate::text::explain::Remedy;
pub(crate) use client::client_config;
pub(crate) use handshake::HandshakeError;
pub(crate) use pem::{ca_pem, certificates, common_name, key_pair_pem, private_key};
pub(crate) use server::{ServerTls, check};

/// The reason why a certificate or key cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A file is not the PEM that it should be.
    #[error("{}: is not {expected}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
        /// The error of the parser.
        source: pem_types::Error,
    },
    /// A file contains no certificate.
    #[error("{}: contains no PEM certificate (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file contains no private key, or one with a passphrase.
    #[error(
        "{}: contains no PEM private key without a passphrase (-----BEGIN PRIVATE KEY-----)", path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be decoded.
    #[error("{}: contains a damaged certificate", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The error of the decoder.
        source: Box<x509_cert::der::Error>,
    },
    /// A certificate is one without extensions, which TLS libraries do not accept from a server or a client.
    #[error("{}: contains an X.509 certificate of version {version}, but TLS needs version 3", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version of the certificate, 1 or 2.
        version: u8,
    },
    /// A certificate is not one of a CA that can be trusted.
    #[error("{}: is not a CA that can be trusted", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not belong together.
    #[error("{} and {} do not belong together", cert_path.display(), key_path.display())]
    Mismatch {
        /// The certificate chain.
        cert_path: PathBuf,
        /// The private key.
        key_path: PathBuf,
    },
    /// rustls rejects certificate and key for another reason.
    #[error("{} and {} cannot be used", cert_path.display(), key_path.display())]
    Pair {
        /// The certificate chain.
        cert_path: PathBuf,
        /// The private key.
        key_path: PathBuf,
        /// The error of rustls.
        source: Box<rustls::Error>,
    },
    /// The server's own certificate has expired.
    #[error("{}: contains a certificate that expired{}", path.display(), at_text(*.at))]
    Expired {
        /// The certificate chain.
        path: PathBuf,
        /// The moment from which clients refuse it.
        at: SystemTime,
    },
}

fn at_text(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| String::new(), |at| format!(" at {at}"))
}

// === impl TlsError ===

impl Remedy for TlsError {
    fn remedy(&self) -> Option<String> {
        let text = match self {
            TlsError::Read(error) => return error.remedy(),
            TlsError::Pem { .. } | TlsError::NoCertificate { .. } => "name a file in PEM format",
            TlsError::NoKey { .. } => {
                "name a file in PEM format; `openssl pkey` removes a passphrase"
            }
            TlsError::Certificate { .. } => "copy or issue the certificate again",
            TlsError::Version { .. } => {
                "issue the certificate again with extensions, for example with `openssl x509 -req -extfile`"
            }
            TlsError::Ca { .. } => "name the certificate of a CA",
            TlsError::Mismatch { .. } => {
                "name the key of the first certificate in the file; the server's own certificate comes first, then \
                 those of intermediate CAs"
            }
            TlsError::Pair { .. } => "issue both again, for example with an ECDSA P-256 key",
            TlsError::Expired { .. } => "replace it",
        };
        Some(text.into())
    }
}
