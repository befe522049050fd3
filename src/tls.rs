//! TLS of the listeners: certificates from files, with aws-lc-rs as the one provider in this program.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use prometheus::IntGauge;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use x509_cert::der::Decode as _;

use crate::config::{KeyPair, TlsSettings};
use crate::files::FromFiles;
use crate::metrics::Metrics;

/// Why a certificate cannot be used. It names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error(
        "{} and {} do not go together: {problem}", cert_path.display(), key_path.display()
    )]
    Pair {
        cert_path: PathBuf,
        key_path: PathBuf,
        problem: String,
    },
    #[error("{}: has a certificate that expired{}", path.display(), at_text(*.at))]
    Expired { path: PathBuf, at: SystemTime },
}

/// The TLS of one listener: TLS 1.2 and 1.3, HTTP/1.1 and 2. Its files can be read again at any time;
/// connections keep what they began with.
pub struct ServerTls {
    name: &'static str,
    settings: TlsSettings,
    current: RwLock<Arc<ServerConfig>>,
    expiry: IntGauge,
}

/// What the files have in them.
struct Loaded {
    config: Arc<ServerConfig>,
    /// When the server's own certificate expires. From then on clients refuse it.
    not_after: SystemTime,
    /// When the first certificate of the chain expires, which may be one that no client needs.
    first_not_after: SystemTime,
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files of the listener `name`.
    ///
    /// # Errors
    /// If a file cannot be read, has not in it what it should, or certificate and key do not go together.
    pub fn load(
        name: &'static str,
        settings: TlsSettings,
        metrics: &Metrics,
    ) -> Result<Self, TlsError> {
        let loaded = load(&settings)?;
        let expiry = metrics.certificate_expiry.with_label_values(&[name]);
        expiry.set(unix_seconds(loaded.first_not_after));
        if let Err(reason) = loaded.is_valid(&settings) {
            tracing::error!(listener = name, %reason, "clients will refuse to talk to this server");
        }
        Ok(ServerTls {
            name,
            settings,
            current: RwLock::new(loaded.config),
            expiry,
        })
    }

    /// What the next connection begins with.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Loaded ===

impl Loaded {
    fn is_valid(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        if self.not_after > SystemTime::now() {
            return Ok(());
        }
        Err(TlsError::Expired {
            path: settings.pair.cert_path.clone(),
            at: self.not_after,
        })
    }
}

impl FromFiles for ServerTls {
    fn what(&self) -> String {
        format!("{}.tls", self.name)
    }

    fn paths(&self) -> Vec<PathBuf> {
        let TlsSettings {
            pair,
            client_ca_path,
        } = &self.settings;
        let mut paths = vec![pair.cert_path.clone(), pair.key_path.clone()];
        paths.extend(client_ca_path.clone());
        paths
    }

    fn reload(&self) -> Result<(), String> {
        let loaded = load_valid(&self.settings).map_err(|error| error.to_string())?;
        self.expiry.set(unix_seconds(loaded.first_not_after));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
        Ok(())
    }
}

/// Whether a listener could use these files now.
///
/// # Errors
/// Why not.
pub fn check(settings: &TlsSettings) -> Result<(), TlsError> {
    load_valid(settings).map(drop)
}

/// The PEM text of CAs to trust.
///
/// # Errors
/// If there is none in the file.
pub fn cas(path: &Path) -> Result<Vec<u8>, TlsError> {
    roots(path)?;
    read(path)
}

/// The PEM texts of a certificate chain and its key, which go together.
///
/// # Errors
/// If a file is not what it should be, or the two do not go together.
pub fn pair(pair: &KeyPair) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let (chain, key) = (certificates(&pair.cert_path)?, private_key(&pair.key_path)?);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| does_not_go(pair, &error))?;
    Ok((read(&pair.cert_path)?, read(&pair.key_path)?))
}

fn load_valid(settings: &TlsSettings) -> Result<Loaded, TlsError> {
    let loaded = load(settings)?;
    loaded.is_valid(settings)?;
    Ok(loaded)
}

fn load(settings: &TlsSettings) -> Result<Loaded, TlsError> {
    let pair = &settings.pair;
    let chain = certificates(&pair.cert_path)?;
    let key = private_key(&pair.key_path)?;
    let ends = chain
        .iter()
        .map(|certificate| not_after(&pair.cert_path, certificate))
        .collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| does_not_go(pair, &error))?;
    let builder = match &settings.client_ca_path {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = roots(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| no_ca(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| does_not_go(pair, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded {
        config: Arc::new(config),
        // There is one certificate at least, and the server's own comes first.
        not_after: ends.first().copied().unwrap_or(SystemTime::UNIX_EPOCH),
        first_not_after: ends.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| no_ca(path, &error))?;
    }
    Ok(roots)
}

fn no_ca(path: &Path, error: &dyn Display) -> TlsError {
    file(path, format!("is no CA to trust: {error}"))
}

fn does_not_go(pair: &KeyPair, error: &rustls::Error) -> TlsError {
    TlsError::Pair {
        cert_path: pair.cert_path.clone(),
        key_path: pair.key_path.clone(),
        problem: match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key is not the one of the first certificate in the file; the owner's \
                 certificate comes first, then those of the CAs in between"
                    .into()
            }
            other => other.to_string(),
        },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| file(path, format!("cannot be read: {error}")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, "PEM certificates", &error))?;
    if chain.is_empty() {
        let problem = "has no PEM certificate in it (-----BEGIN CERTIFICATE-----)";
        return Err(file(path, problem.into()));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => file(
            path,
            "has no PEM private key in it that can be used without a passphrase \
             (-----BEGIN PRIVATE KEY-----)"
                .into(),
        ),
        error => unreadable(path, "a PEM private key", &error),
    })
}

fn unreadable(path: &Path, what: &str, error: &pem::Error) -> TlsError {
    file(
        path,
        match error {
            pem::Error::Io(error) => format!("cannot be read: {error}"),
            error => format!("is not {what}: {error}"),
        },
    )
}

fn not_after(path: &Path, certificate: &CertificateDer<'_>) -> Result<SystemTime, TlsError> {
    let certificate = x509_cert::Certificate::from_der(certificate)
        .map_err(|error| file(path, format!("has a certificate that is damaged: {error}")))?;
    let not_after = certificate.tbs_certificate.validity.not_after;
    Ok(SystemTime::UNIX_EPOCH + not_after.to_unix_duration())
}

fn at_text(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| String::new(), |at| format!(" at {at}"))
}

fn file(path: &Path, problem: String) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        problem,
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since
        .unwrap_or(Duration::ZERO)
        .as_secs()
        .try_into()
        .unwrap_or(i64::MAX)
}
