//! The TLS configuration of a listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CipherSuite, ServerConfig};

use super::{TlsError, pem};
use crate::config::TlsSettings;
use crate::reloadable::{Reload, ReloadError};
use crate::text::explain::explain;

/// The TLS of one listener: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2. Its files can be reloaded at any time; a connection
/// keeps the certificate it started with.
pub(crate) struct ServerTls {
    listener: &'static str,
    settings: TlsSettings,
    current: RwLock<ServerFiles>,
}

/// The content of the files.
struct ServerFiles {
    config: Arc<ServerConfig>,
    /// The moment from which clients refuse the server's own certificate.
    not_after: SystemTime,
    /// The moment at which the first certificate of the chain expires, which may be one that no client needs.
    first_not_after: SystemTime,
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files of the listener. An expired certificate is logged and used.
    ///
    /// # Errors
    /// If a file cannot be used, or certificate and key do not belong together.
    pub(crate) fn load(listener: &'static str, settings: TlsSettings) -> Result<Self, TlsError> {
        let loaded = load(&settings)?;
        if let Err(reason) = loaded.check_expiry(&settings) {
            let reason = explain(&reason);
            tracing::error!(
                listener,
                reason,
                "clients will refuse to connect to this server"
            );
        }
        Ok(ServerTls {
            listener,
            settings,
            current: RwLock::new(loaded),
        })
    }

    /// Returns the name of the listener.
    pub(crate) fn listener(&self) -> &'static str {
        self.listener
    }

    /// Returns the configuration for the next connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().config)
    }

    /// Returns the time at which the first certificate of the chain expires, in seconds since 1970.
    pub(crate) fn expiry_seconds(&self) -> i64 {
        let at = self.current.read().first_not_after;
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or(Duration::ZERO).as_secs();
        seconds.try_into().unwrap_or(i64::MAX)
    }
}

impl Reload for ServerTls {
    fn what(&self) -> String {
        format!("{}.tls", self.listener)
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

    fn reload(&self) -> Result<(), ReloadError> {
        *self.current.write() = load_unexpired(&self.settings)?;
        Ok(())
    }
}

/// Checks whether a listener could use these files now.
///
/// # Errors
/// If it could not, or its clients would refuse the certificate.
pub(crate) fn check(settings: &TlsSettings) -> Result<(), TlsError> {
    load_unexpired(settings).map(drop)
}

fn load_unexpired(settings: &TlsSettings) -> Result<ServerFiles, TlsError> {
    let loaded = load(settings)?;
    loaded.check_expiry(settings)?;
    Ok(loaded)
}

fn load(settings: &TlsSettings) -> Result<ServerFiles, TlsError> {
    let pair = &settings.pair;
    let chain = pem::certificates(&pair.cert_path)?;
    let key = pem::private_key(&pair.key_path)?;
    let ends = chain
        .iter()
        .map(|certificate| not_after(&pair.cert_path, certificate))
        .collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| pem::pair_error(pair, error))?;
    let builder = match &settings.client_ca_path {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = pem::root_store(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| TlsError::Ca {
                    path: path.clone(),
                    source: error.into(),
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| pem::pair_error(pair, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // Sessions are kept by the clients, as tickets that only this configuration can read.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    match &settings.client_ca_path {
        None => {
            config.ticketer = Ticketer::new().map_err(|error| pem::pair_error(pair, error))?;
        }
        // The certificate of a client is verified for each connection: it may have expired since the last one.
        Some(_) => config.send_tls13_tickets = 0,
    }
    Ok(ServerFiles {
        config: Arc::new(config),
        // The chain has at least one certificate, and the server's own comes first.
        not_after: ends.first().copied().unwrap_or(SystemTime::UNIX_EPOCH),
        first_not_after: ends.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Returns the provider of the program. It prefers AES-128-GCM, which costs less than the others and is not the weaker
/// part of any connection: certificates and key exchanges have about 128 bits of security, too.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        let preferred = [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ];
        !preferred.contains(&suite.suite())
    });
    provider
}

fn not_after(path: &Path, certificate: &CertificateDer<'_>) -> Result<SystemTime, TlsError> {
    let certificate = pem::decode(path, certificate)?;
    let not_after = certificate.tbs_certificate().validity().not_after;
    Ok(SystemTime::UNIX_EPOCH + not_after.to_unix_duration())
}

// === impl ServerFiles ===

impl ServerFiles {
    fn check_expiry(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        if self.not_after > SystemTime::now() {
            return Ok(());
        }
        Err(TlsError::Expired {
            path: settings.pair.cert_path.clone(),
            at: self.not_after,
        })
    }
}
