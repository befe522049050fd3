//! Reading of PEM files.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;

use super::TlsError;
use crate::config::KeyPair;
use crate::file;

/// The type of the attribute "common name" in a subject (RFC 4519, section 2.3).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Reads the PEM text of the CAs to trust.
///
/// # Errors
/// If the file contains no CA that can be trusted.
pub(crate) fn ca_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    root_store(path)?;
    Ok(file::read(path)?)
}

/// Reads the PEM texts of a certificate chain and its key, which belong together.
///
/// # Errors
/// If one of the files cannot be used, or they do not belong together.
pub(crate) fn key_pair_pem(pair: &KeyPair) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let (chain, key) = (certificates(&pair.cert_path)?, private_key(&pair.key_path)?);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| pair_error(pair, error))?;
    Ok((file::read(&pair.cert_path)?, file::read(&pair.key_path)?))
}

/// Decodes one certificate of the file at `path`.
pub(super) fn decode(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<Certificate, TlsError> {
    Certificate::from_der(certificate).map_err(|error| TlsError::Certificate {
        path: path.to_owned(),
        source: Box::new(error),
    })
}

/// Reads the CAs to trust.
pub(super) fn root_store(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Ca {
            path: path.to_owned(),
            source: error.into(),
        })?;
    }
    Ok(roots)
}

/// Reads a certificate chain, which has at least one certificate.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&file::read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| pem_error(path, "a PEM certificate chain", error))?;
    if chain.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::NoCertificate { path });
    }
    Ok(chain)
}

/// Reads a private key.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&file::read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
        },
        error => pem_error(path, "a PEM private key", error),
    })
}

/// Explains the error of rustls about a certificate and its key.
pub(super) fn pair_error(pair: &KeyPair, error: rustls::Error) -> TlsError {
    let (cert_path, key_path) = (pair.cert_path.clone(), pair.key_path.clone());
    if let rustls::Error::InconsistentKeys(_) = error {
        return TlsError::Mismatch {
            cert_path,
            key_path,
        };
    }
    match version(&cert_path) {
        // rustls has no error of its own for this.
        Some(version) if version != Version::V3 => TlsError::Version {
            path: cert_path,
            // The encoding of version 1 is 0.
            version: version as u8 + 1,
        },
        _ => TlsError::Pair {
            cert_path,
            key_path,
            source: Box::new(error),
        },
    }
}

/// Returns the X.509 version of the first certificate in a file.
fn version(path: &Path) -> Option<Version> {
    let chain = certificates(path).ok()?;
    Some(
        decode(path, chain.first()?)
            .ok()?
            .tbs_certificate()
            .version(),
    )
}

/// Returns the common name of the subject of the first certificate in a file.
pub(crate) fn common_name(path: &Path) -> Option<String> {
    let chain = certificates(path).ok()?;
    let certificate = decode(path, chain.first()?).ok()?;
    let mut attributes = certificate.tbs_certificate().subject().iter();
    let name = attributes.find(|attribute| attribute.oid == COMMON_NAME)?;
    Some(String::from_utf8_lossy(name.value.value()).into_owned())
}

fn pem_error(path: &Path, expected: &'static str, source: pem::Error) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        expected,
        source,
    }
}
