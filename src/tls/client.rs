//! The TLS configuration of a client.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::pem;
use crate::config::KeyPair;

/// Returns the configuration of a client that trusts the CAs of the file at `ca`, or those of the system, and that
/// presents the certificate of `pair`. `None`: a file cannot be used; the functions that read one file tell why.
pub(crate) fn client_config(ca: Option<&Path>, pair: Option<&KeyPair>) -> Option<ClientConfig> {
    let roots = match ca {
        Some(path) => pem::root_store(path).ok()?,
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots);
    match pair {
        None => Some(builder.with_no_client_auth()),
        Some(pair) => {
            let chain = pem::certificates(&pair.cert_path).ok()?;
            let key = pem::private_key(&pair.key_path).ok()?;
            builder.with_client_auth_cert(chain, key).ok()
        }
    }
}

/// Returns the CAs that the system trusts; those that cannot be used are left out, as other clients do.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
