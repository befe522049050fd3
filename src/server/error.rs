//! The errors of a server.

use std::io;

use super::rlimit::RlimitError;
use super::supervisor::TaskExit;
use crate::auth::AuthError;
use crate::http::BindError;
use crate::names::NodeNamesError;
use crate::notify::NotifyError;
use crate::store::open::StoreSetupError;
use crate::text::explain::Remedy;
use crate::tls::TlsError;

/// The reason why the server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Rlimit(#[from] RlimitError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Store(#[from] StoreSetupError),
    #[error("{source}")]
    Tls {
        /// The section of the configuration.
        section: &'static str,
        source: TlsError,
    },
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    NodeNames(#[from] NodeNamesError),
    #[error(transparent)]
    Notify(#[from] NotifyError),
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// Invariant 10: no server accepts requests that it cannot process.
    #[error(transparent)]
    Task(#[from] TaskExit),
}

// === impl ServeError ===

impl ServeError {
    /// Returns the key of the configuration that the error is about.
    pub(crate) fn key(&self) -> Option<String> {
        match self {
            ServeError::Bind(error) => Some(error.key()),
            ServeError::Store(error) => Some(error.key().to_owned()),
            ServeError::Tls { section, .. } => Some(format!("{section}.tls_cert_path")),
            ServeError::Auth(_) => Some("service.htpasswd_path".to_owned()),
            ServeError::Notify(error) => Some(error.key().to_owned()),
            ServeError::NodeNames(_) => Some("service.node_names_path".to_owned()),
            ServeError::Rlimit(_)
            | ServeError::Metrics(_)
            | ServeError::Signals(_)
            | ServeError::Task(_) => None,
        }
    }
}

impl Remedy for ServeError {
    fn remedy(&self) -> Option<String> {
        match self {
            ServeError::Rlimit(error) => error.remedy(),
            ServeError::Bind(error) => error.remedy(),
            ServeError::Store(error) => error.remedy(),
            ServeError::Tls { source, .. } => source.remedy(),
            ServeError::Auth(error) => error.remedy(),
            ServeError::NodeNames(error) => error.remedy(),
            ServeError::Notify(error) => error.remedy(),
            ServeError::Metrics(_) | ServeError::Signals(_) | ServeError::Task(_) => None,
        }
    }
}
