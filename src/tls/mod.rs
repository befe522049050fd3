//! Certificates and keys from files, with aws-lc-rs as the only TLS provider in this program.

mod pem;
mod server;

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::pki_types::pem as pem_types;

use crate::text::permission::read_hint;
pub(crate) use pem::{ca_pem, certificates, key_pair_pem, private_key};
pub(crate) use server::{ServerTls, check};

/// The reason why a certificate or key cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {error}{}", path.display(), read_hint(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A file is not the PEM that it should be.
    #[error("{}: is not {expected}: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
        /// The error of the parser.
        error: pem_types::Error,
    },
    /// A file contains no certificate.
    #[error("{}: contains no PEM certificate (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file contains no usable private key.
    #[error(
        "{}: contains no PEM private key without a passphrase (-----BEGIN PRIVATE KEY-----)", path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be decoded.
    #[error("{}: contains a damaged certificate: {error}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The error of the decoder.
        error: Box<x509_cert::der::Error>,
    },
    /// A certificate is not one of a CA that can be trusted.
    #[error("{}: is not a CA that can be trusted: {error}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not belong together.
    #[error(
        "{} and {} do not belong together: {}", cert_path.display(), key_path.display(), mismatch_text(.error)
    )]
    Mismatch {
        /// The certificate chain.
        cert_path: PathBuf,
        /// The private key.
        key_path: PathBuf,
        /// The error of rustls.
        error: Box<rustls::Error>,
    },
    /// The server's own certificate has expired.
    #[error("{}: contains a certificate that expired{}; replace it", path.display(), at_text(*.at))]
    Expired {
        /// The certificate chain.
        path: PathBuf,
        /// The moment from which clients refuse it.
        at: SystemTime,
    },
}

fn mismatch_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key does not match the first certificate in the file; the server's own certificate comes first, then \
             those of intermediate CAs"
                .into()
        }
        other => other.to_string(),
    }
}

fn at_text(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| String::new(), |at| format!(" at {at}"))
}
