//! The HTTP client for requests to other servers: HTTP/1.1, with TLS by rustls. It follows no redirects, and uses no
//! proxy that the environment names.

pub(crate) mod credentials;

use std::error::Error;
use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::KeyPair;
use crate::text::explain::Remedy;
use crate::tls::{self, TlsError};

/// The value of the header `User-Agent`.
pub(crate) const USER_AGENT: &str = concat!("airlock/", env!("CARGO_PKG_VERSION"));

/// The time after which a connection without a request is closed: less than what servers grant, of which some close it
/// after 5 s, perhaps while the next request is on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The maximum size of the head of a response.
const MAX_HEAD: usize = 32 << 10;

/// A client for one server.
pub(crate) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// The reason why the files of a client cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientFilesError {
    #[error(transparent)]
    Ca(TlsError),
    #[error(transparent)]
    ClientCert(TlsError),
    #[error("the certificates of the client have changed while they were read")]
    Changed,
}

/// The cause of a failed request. The error of the client itself says only where it has happened.
#[derive(Debug)]
pub(crate) struct ClientError(legacy::Error);

// === impl HttpClient ===

impl HttpClient {
    /// Creates a client that trusts the CAs of the file at `ca`, or those of the system, and that presents the
    /// certificate of `pair`. Blocks the thread while it reads them. The addresses of a server share the
    /// `connect_timeout`; without one, a request does not leave an address that does not respond.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub(crate) fn load(
        ca: Option<&Path>,
        pair: Option<&KeyPair>,
        connect_timeout: Option<Duration>,
    ) -> Result<Self, ClientFilesError> {
        ca.map(tls::ca_pem)
            .transpose()
            .map_err(ClientFilesError::Ca)?;
        pair.map(tls::key_pair_pem)
            .transpose()
            .map_err(ClientFilesError::ClientCert)?;
        let tls = tls::client_config(ca, pair).ok_or(ClientFilesError::Changed)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(MAX_HEAD)
            .build(HttpsConnector::from((http, tls)));
        Ok(HttpClient(client))
    }

    /// Sends a request, and waits for the head of the response, without a limit in time.
    ///
    /// # Errors
    /// If there is no response.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        self.0.request(request).await.map_err(ClientError)
    }
}

// === impl ClientFilesError ===

impl Remedy for ClientFilesError {
    fn remedy(&self) -> Option<String> {
        match self {
            ClientFilesError::Ca(error) | ClientFilesError::ClientCert(error) => error.remedy(),
            ClientFilesError::Changed => None,
        }
    }
}

// === impl ClientError ===

impl ClientError {
    /// Reports whether there was no connection.
    pub(crate) fn is_connect(&self) -> bool {
        self.0.is_connect()
    }

    /// Reports whether the certificate of the server is not trusted.
    pub(crate) fn is_about_certificate(&self) -> bool {
        let mut cause = self.0.source();
        while let Some(error) = cause {
            if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
                return true;
            }
            // The source of an I/O error is not the error in it, but the source of that one.
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            cause = inner.map(|inner| inner as _).or_else(|| error.source());
        }
        false
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(cause) => fmt::Display::fmt(cause, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()?.source()
    }
}
