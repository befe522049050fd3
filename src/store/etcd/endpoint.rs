//! One etcd endpoint: its long-lived client, and what its errors mean.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::sync::Mutex;
use tokio::time;

/// How often a connection with open streams is pinged, and how long the answer may take.
///
/// etcd closes connections that are pinged more often than every 5 s (`--grpc-keepalive-min-time`),
/// or at all while no stream is open.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

/// One endpoint of the cluster.
pub struct Endpoint {
    /// As configured, with its scheme.
    url: String,
    options: ConnectOptions,
    /// The client in use and its generation; made when first needed.
    client: Mutex<(u64, Option<Client>)>,
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
    pub fn new(url: String, options: ConnectOptions, connect_timeout: Duration) -> Self {
        let options = options
            .with_connect_timeout(connect_timeout)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(Duration::from_secs(10))
            // A member cut off from its leader would accept requests and never answer.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        Endpoint {
            url,
            options,
            client: Mutex::new((0, None)),
        }
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
        let (generation, client) = &mut *slot;
        if let Some(client) = client {
            return Ok((*generation, client.clone()));
        }
        let connected = Client::connect([&self.url], Some(self.options.clone())).await?;
        *generation += 1;
        *client = Some(connected.clone());
        Ok((*generation, connected))
    }

    /// Drops the client, unless it was replaced since.
    async fn forget(&self, generation: u64) {
        let mut slot = self.client.lock().await;
        if slot.0 == generation {
            slot.1 = None;
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
        let text = format!("{}: {}", self.url, describe(error));
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
            (
                Code::Unavailable | Code::Unknown,
                "etcdserver: no leader" | "etcdserver: not leader",
            )
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

/// The causes of an error, outermost first.
fn sources(
    error: &dyn std::error::Error,
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |source| (*source).source())
}

/// What went wrong in words, down to the cause, with the remedy where there is one.
fn describe(error: &Error) -> String {
    let Error::GRpcStatus(status) = error else {
        let mut text = error.to_string();
        if let Error::TransportError(error) = error {
            for source in sources(error) {
                text.push_str(&format!(": {source}"));
            }
        }
        return text;
    };
    // tonic's own words ("tcp connect error") matter less than the innermost cause.
    let cause = sources(status).last().map(ToString::to_string);
    let remedy = match status.message() {
        "etcdserver: mvcc: database space exceeded" => {
            " (etcd is out of space: compact, defragment, then `etcdctl alarm disarm`)"
        }
        "etcdserver: permission denied" => {
            " (this etcd user needs read and write on the prefix com.coreos.airlock/groups/)"
        }
        "etcdserver: user name is empty" => {
            " (etcd demands a user: set etcd3.username and etcd3.password_path)"
        }
        "etcdserver: authentication failed, invalid user ID or password" => {
            " (check etcd3.username and the file etcd3.password_path)"
        }
        "etcdserver: request is too large" => {
            " (too many holders for one value: fewer slots, or a larger --max-request-bytes in etcd)"
        }
        _ => "",
    };
    match cause {
        Some(cause) if !status.message().contains(&cause) => {
            format!("{}: {cause}{remedy}", status.message())
        }
        _ if status.message().is_empty() => format!("gRPC status {:?}", status.code()),
        _ => format!("{}{remedy}", status.message()),
    }
}
