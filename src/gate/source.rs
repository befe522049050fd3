//! The HTTP requests about a gate, with files that are reloaded when they change.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use tokio::task::{JoinError, spawn_blocking};

use super::answer::{Answer, Source};
use super::prometheus::{self, ResultError};
use crate::config::{GateCredentials, GateSettings, GateTarget};
use crate::http_client::credentials::{SecretError, basic, bearer, read_secret};
use crate::http_client::{ClientError, ClientFilesError, HttpClient, USER_AGENT};
use crate::reloadable::ReloadError;
use crate::text::escape::quoted_start;
use crate::text::explain::{Remedy, explain};

/// The maximum size of a body.
const MAX_BODY: usize = 1 << 20;

/// The maximum number of characters of a response in a reason.
const MAX_LINE: usize = 160;

/// A web server or a Prometheus that knows whether a gate is open.
pub(crate) struct HttpSource {
    settings: Arc<GateSettings>,
    /// `None`: the files were not read yet, or could not be used.
    files: Mutex<Option<Arc<Files>>>,
}

/// What was made of the files.
struct Files {
    client: HttpClient,
    authorization: Option<HeaderValue>,
}

/// The reason why the files of a gate cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GateFilesError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Client(#[from] ClientFilesError),
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Files(#[from] GateFilesError),
    #[error("cannot read the files of the gate")]
    Panicked(#[from] JoinError),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("cannot connect")]
    Connect(#[source] ClientError),
    #[error("no response")]
    NoResponse(#[source] ClientError),
    #[error("the response has more than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the response ends too early")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the response is {0}")]
    Redirect(StatusCode),
    #[error("the response is {0}")]
    Denied(StatusCode),
    #[error("the response is {status}{detail}")]
    Status { status: StatusCode, detail: String },
    #[error(transparent)]
    Result(#[from] ResultError),
}

// === impl HttpSource ===

impl HttpSource {
    /// Creates a source, which reads its files when it is first asked.
    pub(crate) fn new(settings: Arc<GateSettings>) -> Self {
        HttpSource {
            settings,
            files: Mutex::new(None),
        }
    }

    async fn answer(&self) -> Result<Answer, AskError> {
        let request_url = self.url()?;
        let files = self.files().await?;
        let mut request = Request::get(request_url).header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &files.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = files.client.send(request.body(Full::default())?).await;
        let response = response.map_err(|error| {
            if error.is_connect() {
                AskError::Connect(error)
            } else {
                AskError::NoResponse(error)
            }
        })?;
        match response.status() {
            status if status.is_redirection() => return Err(AskError::Redirect(status)),
            status @ (StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED) => return Err(AskError::Denied(status)),
            _ => {}
        }
        match &self.settings.target {
            GateTarget::Http(_) => http_answer(response).await,
            GateTarget::Prometheus { .. } => prometheus_answer(response).await,
        }
    }

    fn url(&self) -> Result<Uri, http::Error> {
        match &self.settings.target {
            GateTarget::Http(url) => Ok(url.clone()),
            GateTarget::Prometheus { url, query } => {
                prometheus::query_url(url, query, self.settings.timeout)
            }
        }
    }

    /// Returns the files, which are read at the first call, and after that when they change.
    async fn files(&self) -> Result<Arc<Files>, AskError> {
        if let Some(files) = &*self.files.lock() {
            return Ok(Arc::clone(files));
        }
        let settings = Arc::clone(&self.settings);
        let loaded = spawn_blocking(move || Files::load(&settings)).await??;
        // A reload meanwhile has read newer ones.
        let mut files = self.files.lock();
        Ok(Arc::clone(files.get_or_insert(Arc::new(loaded))))
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn ask(&self) -> Answer {
        let answer = self.answer().await;
        answer.unwrap_or_else(|error| Answer::failed(&explain(&error)))
    }

    fn paths(&self) -> Vec<PathBuf> {
        let GateSettings {
            ca_cert_path,
            client_cert,
            credentials,
            ..
        } = &*self.settings;
        let mut paths: Vec<PathBuf> = ca_cert_path.iter().cloned().collect();
        if let Some(pair) = client_cert {
            paths.extend([pair.cert_path.clone(), pair.key_path.clone()]);
        }
        let secret = credentials.as_ref().map(GateCredentials::file);
        paths.extend(secret.map(|(_, path)| path.clone()));
        paths
    }

    fn reload(&self) -> Result<(), ReloadError> {
        let loaded = Files::load(&self.settings)?;
        *self.files.lock() = Some(Arc::new(loaded));
        Ok(())
    }
}

/// Returns the answer of a web server: any status but 2xx is a closed gate.
async fn http_answer(response: Response<Incoming>) -> Result<Answer, AskError> {
    let status = response.status();
    let body = read(response).await;
    if status.is_success() {
        body?;
        return Ok(Answer::Open);
    }
    let line = body.ok().and_then(|body| first_line(&body));
    let detail = line.map_or_else(String::new, |line| format!(": {line}"));
    Ok(Answer::closed(&format!("the response is {status}{detail}")))
}

async fn prometheus_answer(response: Response<Incoming>) -> Result<Answer, AskError> {
    let status = response.status();
    let body = read(response).await?;
    if status == StatusCode::OK {
        return Ok(prometheus::answer(&body)?);
    }
    if let Some(error) = prometheus::error(&body) {
        return Err(error.into());
    }
    let detail = first_line(&body).map_or_else(String::new, |line| format!(": {line}"));
    Err(AskError::Status { status, detail })
}

/// Reads the whole body, within a limit.
async fn read(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            AskError::TooLarge
        } else {
            AskError::Body(error)
        }
    })?;
    Ok(body.to_bytes())
}

/// Returns the start of the first line of a text that was written for people, quoted. A page or a document is none.
fn first_line(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    (!line.starts_with('<')).then(|| quoted_start(line, MAX_LINE))
}

/// Checks whether the file of the credentials contains some.
///
/// # Errors
/// If it does not.
pub(crate) fn check_credentials(credentials: &GateCredentials) -> Result<(), SecretError> {
    authorization(credentials).map(drop)
}

/// Returns the value of the header `Authorization`.
fn authorization(credentials: &GateCredentials) -> Result<HeaderValue, SecretError> {
    let (path, value) = match credentials {
        GateCredentials::Bearer(path) => (path, bearer(&read_secret(path)?)),
        GateCredentials::Basic {
            username,
            password_path,
        } => (password_path, basic(username, &read_secret(password_path)?)),
    };
    value.map_err(|_| SecretError::NotAHeader(path.clone()))
}

// === impl Files ===

impl Files {
    /// Reads the files. Blocks the thread.
    fn load(settings: &GateSettings) -> Result<Self, GateFilesError> {
        let ca = settings.ca_cert_path.as_deref();
        Ok(Files {
            client: HttpClient::load(ca, settings.client_cert.as_ref(), None)?,
            authorization: settings
                .credentials
                .as_ref()
                .map(authorization)
                .transpose()?,
        })
    }
}

// === impl GateFilesError ===

impl Remedy for GateFilesError {
    fn remedy(&self) -> Option<String> {
        match self {
            GateFilesError::Secret(error) => error.remedy(),
            GateFilesError::Client(error) => error.remedy(),
        }
    }
}

// === impl AskError ===

impl Remedy for AskError {
    fn remedy(&self) -> Option<String> {
        let text = match self {
            AskError::Files(error) => return error.remedy(),
            AskError::Connect(error) if error.is_about_certificate() => {
                "set ca_cert_path of the gate to the CA that has issued its certificate, or correct the certificate"
            }
            AskError::Connect(_) => {
                "check that the server runs, and that the URL of the gate names it"
            }
            AskError::NoResponse(_) | AskError::Body(_) => {
                "check the log of the server, and whether the URL of the gate has to begin with https://"
            }
            AskError::TooLarge => {
                "aggregate the query, for example with count(…) > 0, or shorten the response"
            }
            AskError::Redirect(_) => {
                "redirects are not followed: set the URL of the gate to the new address"
            }
            AskError::Denied(_) => {
                "check the token or the password of the gate, and the permissions of its user"
            }
            AskError::Status { .. } => {
                "check that the URL of the gate is that of a Prometheus, without /api/v1/query"
            }
            AskError::Result(ResultError::Json(_)) => {
                "check that the URL of the gate is that of a Prometheus"
            }
            AskError::Result(ResultError::NotVector(_)) => {
                "write a query that selects series, such as up == 0"
            }
            AskError::Result(ResultError::Reported(_) | ResultError::Incomplete(_))
            | AskError::Panicked(_)
            | AskError::Request(_) => return None,
        };
        Some(text.into())
    }
}
