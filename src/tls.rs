//! TLS: certificates from files, with aws-lc-rs as the one provider in this program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsSettings;

/// Why a certificate cannot be used. It names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("{} and {} do not go together: {source}", cert_path.display(), key_path.display())]
    Pair {
        cert_path: PathBuf,
        key_path: PathBuf,
        source: rustls::Error,
    },
}

/// What a listener needs to speak TLS 1.2 and 1.3, HTTP/1.1 and 2.
///
/// # Errors
/// If a file cannot be read, has no certificate or key in it, or the two do not go together.
pub fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&settings.pair.cert_path)?;
    let key = private_key(&settings.pair.key_path)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|source| TlsError::Pair {
            cert_path: settings.pair.cert_path.clone(),
            key_path: settings.pair.key_path.clone(),
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |problem: String| TlsError::File {
        path: path.to_owned(),
        problem,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(format!("cannot be read as PEM certificates: {error}")))?;
    if chain.is_empty() {
        return Err(failed("has no PEM certificate in it".into()));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::File {
        path: path.to_owned(),
        problem: format!("cannot be read as a PEM private key: {error}"),
    })
}
