//! Reading of PEM files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsError;
use crate::config::KeyPair;

/// Reads the PEM text of the CAs to trust.
///
/// # Errors
/// If the file contains no CA that can be trusted.
pub(crate) fn ca_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    root_store(path)?;
    read(path)
}

/// Reads the PEM texts of a certificate chain and its key, which belong together.
///
/// # Errors
/// If one of the files cannot be used, or they do not belong together.
pub(crate) fn key_pair_pem(pair: &KeyPair) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let (chain, key) = (certificates(&pair.cert_path)?, private_key(&pair.key_path)?);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| mismatch(pair, error))?;
    Ok((read(&pair.cert_path)?, read(&pair.key_path)?))
}

/// Reads the CAs to trust.
pub(super) fn root_store(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Ca {
            path: path.to_owned(),
            error: error.into(),
        })?;
    }
    Ok(roots)
}

/// Reads a certificate chain, which has at least one certificate.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| pem_error(path, "a PEM certificate chain", error))?;
    if chain.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::NoCertificate { path });
    }
    Ok(chain)
}

/// Reads a private key.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
        },
        error => pem_error(path, "a PEM private key", error),
    })
}

pub(super) fn mismatch(pair: &KeyPair, error: rustls::Error) -> TlsError {
    TlsError::Mismatch {
        cert_path: pair.cert_path.clone(),
        key_path: pair.key_path.clone(),
        error: Box::new(error),
    }
}

fn pem_error(path: &Path, expected: &'static str, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(error) => TlsError::Read { path, error },
        error => TlsError::Pem {
            path,
            expected,
            error,
        },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read {
        path: path.to_owned(),
        error,
    })
}
