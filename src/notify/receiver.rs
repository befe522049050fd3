//! One attempt to deliver an event to the receiver.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::time;

use super::retry::retry_after;
use super::signature::{Secret, SecretError};
use crate::config::NotifySettings;
use crate::http_client::{ClientError, ClientFilesError, HttpClient, USER_AGENT};
use crate::reloadable::{Reload, ReloadError};
use crate::text::explain::Remedy;

/// The receiver of events.
pub(super) struct Receiver {
    settings: Arc<NotifySettings>,
    current: RwLock<Arc<Files>>,
}

/// What was made of the files.
struct Files {
    client: HttpClient,
    secret: Option<Secret>,
}

/// The reason why the files of the webhook cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotifyError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Ca(#[from] ClientFilesError),
}

/// The reason why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error("cannot connect")]
    Connect(#[source] ClientError),
    #[error("no response")]
    NoResponse(#[source] ClientError),
    #[error("no response within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the response is {status}")]
    Status {
        status: StatusCode,
        /// The pause that the receiver demands.
        retry_after: Option<Duration>,
    },
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
}

// === impl Receiver ===

impl Receiver {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub(super) fn load(settings: Arc<NotifySettings>) -> Result<Self, NotifyError> {
        let files = Files::load(&settings)?;
        Ok(Receiver {
            settings,
            current: RwLock::new(Arc::new(files)),
        })
    }

    /// Returns the name of the receiver for messages.
    pub(super) fn name(&self) -> String {
        self.settings.receiver()
    }

    /// Sends an event, and waits for the head of the response. Of its body, at most what came with the head is read.
    ///
    /// # Errors
    /// If the receiver has not confirmed the event.
    pub(super) async fn deliver(&self, id: &str, body: &str) -> Result<(), AttemptError> {
        let files = Arc::clone(&self.current.read());
        let request = self.request(&files, id, body)?;
        let timeout = self.settings.timeout;
        let response = time::timeout(timeout, files.client.send(request)).await;
        let response = response.map_err(|_| AttemptError::Timeout(timeout))?;
        let response = response.map_err(|error| {
            if error.is_connect() {
                AttemptError::Connect(error)
            } else {
                AttemptError::NoResponse(error)
            }
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(AttemptError::Status {
                status,
                retry_after: retry_after(response.headers(), Timestamp::now()),
            }),
        }
    }

    fn request(
        &self,
        files: &Files,
        id: &str,
        body: &str,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let timestamp = Timestamp::now().as_second();
        let mut request = Request::post(self.settings.url.clone())
            .header(
                header::CONTENT_TYPE,
                "application/cloudevents+json; charset=UTF-8",
            )
            .header(header::USER_AGENT, USER_AGENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &files.secret {
            let signature = secret.sign(id, timestamp, body.as_bytes());
            request = request.header("webhook-signature", signature);
        }
        request.body(Full::from(body.to_owned()))
    }
}

impl Reload for Receiver {
    fn what(&self) -> String {
        "notify".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let NotifySettings {
            secret_path,
            ca_cert_path,
            ..
        } = &*self.settings;
        secret_path.iter().chain(ca_cert_path).cloned().collect()
    }

    fn reload(&self) -> Result<(), ReloadError> {
        *self.current.write() = Arc::new(Files::load(&self.settings)?);
        Ok(())
    }
}

// === impl Files ===

impl Files {
    fn load(settings: &NotifySettings) -> Result<Self, NotifyError> {
        let secret = settings
            .secret_path
            .as_deref()
            .map(Secret::read)
            .transpose()?;
        let client = HttpClient::load(settings.ca_cert_path.as_deref(), None, None)?;
        Ok(Files { client, secret })
    }
}

// === impl NotifyError ===

impl NotifyError {
    /// Returns the key of the configuration that names the file.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            NotifyError::Secret(_) => "notify.secret_path",
            NotifyError::Ca(_) => "notify.ca_cert_path",
        }
    }
}

impl Remedy for NotifyError {
    fn remedy(&self) -> Option<String> {
        match self {
            NotifyError::Secret(error) => error.remedy(),
            NotifyError::Ca(error) => error.remedy(),
        }
    }
}

// === impl AttemptError ===

impl AttemptError {
    /// Reports whether the receiver refuses the event for good. Anything else may pass.
    pub(super) fn is_rejection(&self) -> bool {
        match self {
            AttemptError::Status { status, .. } => {
                let may_pass = matches!(
                    *status,
                    StatusCode::REQUEST_TIMEOUT
                        | StatusCode::TOO_EARLY
                        | StatusCode::TOO_MANY_REQUESTS
                );
                !may_pass && !status.is_server_error()
            }
            AttemptError::Request(_) => true,
            AttemptError::Connect(_) | AttemptError::NoResponse(_) | AttemptError::Timeout(_) => {
                false
            }
        }
    }

    /// Reports whether another event might be delivered: the receiver runs and has a response, but fails.
    pub(super) fn may_be_about_event(&self) -> bool {
        match self {
            AttemptError::Status { status, .. } => {
                status.is_server_error() && *status != StatusCode::SERVICE_UNAVAILABLE
            }
            AttemptError::Connect(_)
            | AttemptError::NoResponse(_)
            | AttemptError::Timeout(_)
            | AttemptError::Request(_) => false,
        }
    }

    /// Returns the pause that the receiver demands.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            AttemptError::Status { retry_after, .. } => *retry_after,
            AttemptError::Connect(_)
            | AttemptError::NoResponse(_)
            | AttemptError::Timeout(_)
            | AttemptError::Request(_) => None,
        }
    }
}

impl Remedy for AttemptError {
    fn remedy(&self) -> Option<String> {
        let text = match self {
            AttemptError::Connect(error) if error.is_about_certificate() => {
                "set notify.ca_cert_path to the CA that has issued the certificate of the receiver, or correct the \
                 certificate"
            }
            AttemptError::Connect(_) => {
                "check that the receiver runs, and that notify.url names it"
            }
            AttemptError::NoResponse(_) => {
                "check the log of the receiver, and whether notify.url has to begin with https://"
            }
            AttemptError::Timeout(_) => {
                "check that the receiver and the network are not overloaded, or raise notify.timeout_ms"
            }
            AttemptError::Status { status, .. } => match *status {
                status if status.is_redirection() => {
                    "redirects are not followed: set notify.url to the new address"
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "check that the receiver has the secret of notify.secret_path, and a correct clock"
                }
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                    "set notify.url to an address that accepts POST requests"
                }
                _ => "check the log of the receiver",
            },
            AttemptError::Request(_) => return None,
        };
        Some(text.into())
    }
}
