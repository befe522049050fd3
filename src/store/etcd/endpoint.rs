//! One etcd endpoint: its long-lived client, and what its errors mean.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::sync::Mutex;
use tokio::time;

use super::credentials::Credentials;
use super::explain::{explain, sources};

/// How often a connection with open streams is pinged, and how long the answer may take.
///
/// etcd closes connections that are pinged more often than every 5 s (`--grpc-keepalive-min-time`),
/// or at all while no stream is open.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

/// One endpoint of the cluster.
pub struct Endpoint {
    /// As configured, with its scheme.
    url: String,
    credentials: Arc<Credentials>,
    connect_timeout: Duration,
    client: Mutex<Slot>,
}

/// The client in use, made when first needed.
#[derive(Default)]
struct Slot {
    client: Option<Client>,
    /// Counts the clients.
    generation: u64,
    /// The credentials that the client was made with.
    credentials: u64,
}

/// Why a call to one endpoint gave no result. The text names the endpoint.
#[derive(Debug)]
pub enum Failure {
    /// It did not happen, and no other endpoint would do it either.
    Rejected(String),
    /// It did not happen here; another endpoint may do it.
    Unreachable(String),
    /// It may have happened.
    Unknown(String),
}

// === impl Endpoint ===

impl Endpoint {
    pub fn new(url: String, credentials: Arc<Credentials>, connect_timeout: Duration) -> Self {
        Endpoint {
            url,
            credentials,
            connect_timeout,
            client: Mutex::default(),
        }
    }

    fn options(&self) -> ConnectOptions {
        self.credentials
            .options(&self.url)
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(Duration::from_secs(10))
            // A member cut off from its leader would accept requests and never answer.
            .with_require_leader(true)
            .with_auto_token_refresh(true)
    }

    /// Runs one call with this endpoint's client, within `timeout`.
    ///
    /// After a failure that may be the connection's own fault the next call makes a new one.
    pub async fn call<T, F>(
        &self,
        timeout: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut sent = None;
        let result = time::timeout(timeout, async {
            let (generation, client) = self
                .client()
                .await
                .map_err(|error| self.connect_failure(&error))?;
            sent = Some(generation);
            call(client).await.map_err(|error| self.failure(&error))
        })
        .await
        .unwrap_or_else(|_| {
            let text = format!("{}: no answer within {} ms", self.url, timeout.as_millis());
            Err(match sent {
                Some(_) => Failure::Unknown(text),
                None => Failure::Unreachable(text),
            })
        });
        if let (Err(Failure::Unknown(_) | Failure::Unreachable(_)), Some(generation)) =
            (&result, sent)
        {
            self.forget(generation).await;
        }
        result
    }

    async fn client(&self) -> Result<(u64, Client), Error> {
        let mut slot = self.client.lock().await;
        let credentials = self.credentials.generation();
        if slot.credentials == credentials
            && let Some(client) = &slot.client
        {
            return Ok((slot.generation, client.clone()));
        }
        let connected = Client::connect([&self.url], Some(self.options())).await?;
        *slot = Slot {
            client: Some(connected.clone()),
            generation: slot.generation + 1,
            credentials,
        };
        Ok((slot.generation, connected))
    }

    /// Drops the client, unless it was replaced since.
    async fn forget(&self, generation: u64) {
        let mut slot = self.client.lock().await;
        if slot.generation == generation {
            slot.client = None;
        }
    }

    /// Connecting sends nothing but, where a user is configured, a name and a password.
    fn connect_failure(&self, error: &Error) -> Failure {
        match self.failure(error) {
            Failure::Unknown(text) => Failure::Unreachable(text),
            failure => failure,
        }
    }

    /// Whether an error is known not to have happened. What is not known is [`Failure::Unknown`].
    fn failure(&self, error: &Error) -> Failure {
        let text = format!("{}: {}", self.url, explain(&self.url, error));
        let Error::GRpcStatus(status) = error else {
            return match error {
                Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                    Failure::Rejected(text)
                }
                Error::TransportError(_) | Error::IoError(_) | Error::EndpointError(_) => {
                    Failure::Unreachable(text)
                }
                _ => Failure::Unknown(text),
            };
        };
        if sources(status).any(|source| source.is::<tonic::ConnectError>()) {
            return Failure::Unreachable(text);
        }
        // Only etcd's own words are trusted to say that it did nothing.
        if !status.message().starts_with("etcdserver:") && !status.message().starts_with("auth:") {
            return Failure::Unknown(text);
        }
        use tonic::Code;
        match (status.code(), status.message()) {
            (Code::Unavailable | Code::Unknown, "etcdserver: no leader")
            | (Code::ResourceExhausted, "etcdserver: too many requests")
            | (Code::InvalidArgument, "etcdserver: revision of auth store is old") => {
                Failure::Unreachable(text)
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
            ) => Failure::Rejected(text),
            _ => Failure::Unknown(text),
        }
    }
}
