//! A certificate and its key.

use std::path::PathBuf;

use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::Pair;

/// A certificate chain and its private key, both as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The file with the certificate chain.
    pub cert_path: PathBuf,
    /// The file with the private key.
    pub key_path: PathBuf,
}

// === impl KeyPair ===

impl KeyPair {
    pub(super) fn new(cert: Located<String>, key: Located<String>) -> Self {
        KeyPair {
            cert_path: cert.value.into(),
            key_path: key.value.into(),
        }
    }

    /// Returns the certificate and the key of a client. `None`: one of them is missing, which is reported with the keys
    /// of the configuration, or both are.
    pub(super) fn of_client(
        diagnostics: &mut Diagnostics,
        pair: Pair<String, String>,
        [cert_key, key_key]: [&str; 2],
    ) -> Option<Self> {
        match pair {
            Pair::Both(cert, key) => return Some(KeyPair::new(cert, key)),
            Pair::OnlyFirst(cert) => {
                let text = format!("the client certificate has no private key; set {key_key} too");
                diagnostics.error(&cert, text);
            }
            Pair::OnlySecond(key) => {
                let text = format!("the private key has no client certificate; set {cert_key} too");
                diagnostics.error(&key, text);
            }
            Pair::Neither | Pair::Invalid => {}
        }
        None
    }
}
