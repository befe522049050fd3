//! One etcd endpoint: its long-lived client, and the classification of its errors.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::sync::Mutex;
use tokio::time;
use tonic::{Code, Status};

use super::credentials::Credentials;
use super::error::{EndpointError, ErrorClass, Problem, sources};

/// The interval of pings on a connection with open streams.
///
/// etcd closes connections that are pinged more often than every 5 s (`--grpc-keepalive-min-time`), or at all while no
/// stream is open.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(6);

/// The time after which a ping without a reply counts as lost.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of TCP's own keep-alive probes.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One endpoint of the cluster.
pub(super) struct EndpointClient {
    /// The configured endpoint, with its scheme.
    url: String,
    credentials: Arc<Credentials>,
    connect_timeout: Duration,
    client: Mutex<CurrentClient>,
}

/// The client in use, created at the first call.
#[derive(Default)]
struct CurrentClient {
    client: Option<Client>,
    /// The number of clients created so far.
    generation: u64,
    /// The generation of the credentials that the client uses.
    credentials: u64,
}

// === impl EndpointClient ===

impl EndpointClient {
    pub(super) fn new(
        url: String,
        credentials: Arc<Credentials>,
        connect_timeout: Duration,
    ) -> Self {
        EndpointClient {
            url,
            credentials,
            connect_timeout,
            client: Mutex::default(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Makes one call with the client of this endpoint, within `timeout`.
    ///
    /// After an error that the connection may have caused, the next call creates a new client.
    pub(super) async fn call<T, F>(
        &self,
        timeout: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, EndpointError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut sent = None;
        let result = time::timeout(timeout, async {
            let (generation, client) = self
                .client()
                .await
                .map_err(|error| self.error(connect_class(&error), error))?;
            sent = Some(generation);
            call(client)
                .await
                .map_err(|error| self.error(class(&error), error))
        })
        .await;
        let result = result.unwrap_or_else(|_| {
            Err(EndpointError {
                url: self.url.clone(),
                class: match sent {
                    Some(_) => ErrorClass::Unknown,
                    None => ErrorClass::Unreachable,
                },
                problem: Problem::NoReply(timeout),
            })
        });
        if let (Err(error), Some(generation)) = (&result, sent)
            && error.class != ErrorClass::Rejected
        {
            self.discard(generation).await;
        }
        result
    }

    /// Returns the client and its generation.
    async fn client(&self) -> Result<(u64, Client), Error> {
        let mut current = self.client.lock().await;
        let credentials = self.credentials.generation();
        if current.credentials == credentials
            && let Some(client) = &current.client
        {
            return Ok((current.generation, client.clone()));
        }
        let client = Client::connect([&self.url], Some(self.options())).await?;
        *current = CurrentClient {
            client: Some(client.clone()),
            generation: current.generation + 1,
            credentials,
        };
        Ok((current.generation, client))
    }

    fn options(&self) -> ConnectOptions {
        self.credentials
            .options(&self.url)
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(TCP_KEEP_ALIVE)
            // Otherwise a member without a leader accepts requests and never replies.
            .with_require_leader(true)
            .with_auto_token_refresh(true)
    }

    /// Discards the client, unless it was replaced in the meantime.
    async fn discard(&self, generation: u64) {
        let mut current = self.client.lock().await;
        if current.generation == generation {
            current.client = None;
        }
    }

    fn error(&self, class: ErrorClass, error: Error) -> EndpointError {
        EndpointError {
            class,
            problem: Problem::new(&self.url, error),
            url: self.url.clone(),
        }
    }
}

/// Classifies an error of connecting, which has no effect: at most a user name and a password are sent.
fn connect_class(error: &Error) -> ErrorClass {
    match class(error) {
        ErrorClass::Unknown => ErrorClass::Unreachable,
        class => class,
    }
}

/// Classifies an error of a call. Every error that is not known to have had no effect is [`ErrorClass::Unknown`].
fn class(error: &Error) -> ErrorClass {
    match error {
        Error::GRpcStatus(status) => status_class(status),
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            ErrorClass::Rejected
        }
        Error::TransportError(_) | Error::IoError(_) | Error::EndpointError(_) => {
            ErrorClass::Unreachable
        }
        _ => ErrorClass::Unknown,
    }
}

fn status_class(status: &Status) -> ErrorClass {
    if sources(status).any(|source| source.is::<tonic::ConnectError>()) {
        return ErrorClass::Unreachable;
    }
    // SUBTLE: a proxy or the gRPC library may use any of the codes below. Only a message of etcd itself proves that the
    // call had no effect.
    if !status.message().starts_with("etcdserver:") && !status.message().starts_with("auth:") {
        return ErrorClass::Unknown;
    }
    match (status.code(), status.message()) {
        (Code::Unavailable | Code::Unknown, "etcdserver: no leader")
        | (Code::ResourceExhausted, "etcdserver: too many requests")
        | (Code::InvalidArgument, "etcdserver: revision of auth store is old") => {
            ErrorClass::Unreachable
        }
        (
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::NotFound
            | Code::Unimplemented,
            _,
        ) => ErrorClass::Rejected,
        _ => ErrorClass::Unknown,
    }
}
