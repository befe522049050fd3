//! One etcd endpoint: its long-lived client, which is used only while it is connected to the right cluster.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, ResponseHeader};
use tokio::sync::Mutex;
use tokio::time;

use super::class::{
    ErrorClass, OVERLOADED, class, connect_class, is_auth_disabled, is_denied, needs_login,
};
use super::connection::channel;
use super::credentials::Credentials;
use super::error::{EndpointError, Mismatch, Problem};
use super::identity::{Foreign, Identity};
use super::keys;
use super::response::Response;
use crate::config::ClusterId;

/// One endpoint of the cluster.
pub(super) struct EndpointClient {
    /// The configured endpoint, with its scheme.
    url: String,
    credentials: Arc<Credentials>,
    identity: Arc<Identity>,
    connect_timeout: Duration,
    client: Mutex<CurrentClient>,
    /// Whether authentication was disabled at the latest login.
    auth_disabled: AtomicBool,
}

/// The client in use, created at the first call.
#[derive(Default)]
struct CurrentClient {
    client: Option<Client>,
    /// The number of clients created so far.
    number: u64,
    /// The generations of the credentials and of the identity with which the client was created.
    generations: (u64, u64),
}

// === impl EndpointClient ===

impl EndpointClient {
    pub(super) fn new(
        url: String,
        credentials: Arc<Credentials>,
        identity: Arc<Identity>,
        connect_timeout: Duration,
    ) -> Self {
        EndpointClient {
            url,
            credentials,
            identity,
            connect_timeout,
            client: Mutex::default(),
            auth_disabled: AtomicBool::new(false),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Reports whether etcd did not use the configured user, because authentication was disabled.
    pub(super) fn is_auth_disabled(&self) -> bool {
        self.auth_disabled.load(Ordering::Relaxed)
    }

    /// Verifies the cluster with a call, within `timeout`.
    pub(super) async fn verify(&self, timeout: Duration) -> Result<(), EndpointError> {
        let list = |client: Client| async move { client.cluster_client().member_list().await };
        self.call(timeout, list).await.map(|_| ())
    }

    /// Makes one call with the client of this endpoint, within `timeout`.
    ///
    /// If etcd requires a new login, the call is made again after it. After an error that the connection may have
    /// caused, the next call creates a new client.
    pub(super) async fn call<T, F>(
        &self,
        timeout: Duration,
        call: impl Fn(Client) -> F,
    ) -> Result<T, EndpointError>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        let mut sent = None;
        let result = time::timeout(timeout, async {
            match self.attempt(&call, &mut sent).await {
                Err(Failed { needs_login, .. }) if needs_login => {
                    self.attempt(&call, &mut sent).await
                }
                result => result,
            }
        })
        .await;
        let error = match result {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(Failed { error, .. })) => error,
            Err(_) => {
                let class = match sent {
                    Some(_) => ErrorClass::Unknown,
                    None => ErrorClass::Unreachable,
                };
                self.error(class, Problem::NoReply(timeout))
            }
        };
        // A new login would only add to the load, and would not permit more.
        let keeps_client = error.problem.is_status(OVERLOADED) || error.problem.is_denied();
        if let Some(number) = sent
            && !keeps_client
            && !matches!(error.class, ErrorClass::Rejected | ErrorClass::NoSpace)
        {
            self.discard(number).await;
        }
        Err(error)
    }

    /// Makes one call. `sent` becomes the number of the client once the call may have been sent.
    async fn attempt<T, F>(
        &self,
        call: &impl Fn(Client) -> F,
        sent: &mut Option<u64>,
    ) -> Result<T, Failed>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        *sent = None;
        let (number, client) = self.client().await.map_err(Failed::for_good)?;
        *sent = Some(number);
        let response = match call(client).await {
            Ok(response) => response,
            Err(error) => {
                // etcd 3.5.30 and later deny permission to a client without a token.
                let has_no_token = self.is_auth_disabled() && class(&error) == ErrorClass::Refused;
                let needs_login = self.credentials.settings().user.is_some()
                    && (needs_login(&error) || has_no_token);
                if needs_login {
                    self.discard(number).await;
                }
                let error = self.error(class(&error), self.problem(error));
                return Err(Failed { error, needs_login });
            }
        };
        // A proxy that understands gRPC can send each call of a connection to another cluster.
        self.verify_response(response.header()).map_err(|foreign| {
            let error = self.error(ErrorClass::Unknown, Problem::Foreign(foreign));
            Failed::for_good(error)
        })?;
        Ok(response)
    }

    /// Verifies the cluster that a response comes from.
    fn verify_response(&self, header: Option<&ResponseHeader>) -> Result<(), Foreign> {
        match header.map(ResponseHeader::cluster_id) {
            None | Some(0) => Ok(()),
            Some(id) => self.identity.record(&self.url, ClusterId(id)),
        }
    }

    /// Returns the client and its number.
    async fn client(&self) -> Result<(u64, Client), EndpointError> {
        let mut current = self.client.lock().await;
        let generations = (self.credentials.generation(), self.identity.generation());
        if current.generations == generations
            && let Some(client) = &current.client
        {
            return Ok((current.number, client.clone()));
        }
        let client = self.connect().await?;
        *current = CurrentClient {
            client: Some(client.clone()),
            number: current.number + 1,
            generations,
        };
        Ok((current.number, client))
    }

    /// Connects, and verifies that this endpoint belongs to the cluster.
    async fn connect(&self) -> Result<Client, EndpointError> {
        let error = |error: Error| {
            let class = connect_class(&error);
            self.error(class, self.problem(error))
        };
        let client = self.log_in().await.map_err(error)?;
        // The cheapest call that any user may make in all versions. A learner refuses it.
        let members = client.cluster_client().member_list().await.map_err(error)?;
        let mut id = members.header().map_or(0, ResponseHeader::cluster_id);
        if id == 0 {
            // etcd's own gRPC proxy leaves the id out of the list of members.
            let range = client.kv_client().get(keys::PREFIX, None).await;
            let range = range.map_err(error)?;
            id = range.header().map_or(0, ResponseHeader::cluster_id);
        }
        if id == 0 {
            return Err(self.error(ErrorClass::Refused, Problem::NoClusterId));
        }
        self.identity
            .record(&self.url, ClusterId(id))
            .map_err(|foreign| self.error(ErrorClass::Refused, Problem::Foreign(foreign)))?;
        Ok(client)
    }

    /// Connects as the configured user, or without a user while authentication is disabled.
    async fn log_in(&self) -> Result<Client, Error> {
        let options = ConnectOptions::new()
            // Otherwise a member without a leader accepts requests and never replies.
            .with_require_leader(true);
        let channel = channel(
            &self.url,
            self.credentials.tls(&self.url),
            self.connect_timeout,
        )?;
        let Some((name, password)) = self.credentials.user() else {
            return Client::from_channel(channel, Some(options)).await;
        };
        let with_user = options.clone().with_user(name, password);
        let result = Client::from_channel(channel.clone(), Some(with_user)).await;
        let auth_disabled = matches!(&result, Err(error) if is_auth_disabled(error));
        self.auth_disabled.store(auth_disabled, Ordering::Relaxed);
        match auth_disabled {
            true => Client::from_channel(channel, Some(options)).await,
            false => result,
        }
    }

    /// Discards the client, unless it was replaced in the meantime.
    async fn discard(&self, number: u64) {
        let mut current = self.client.lock().await;
        if current.number == number {
            current.client = None;
        }
    }

    fn problem(&self, error: Error) -> Problem {
        let certificate_user = self.credentials.certificate_user(&self.url);
        match Problem::new(&self.url, error) {
            Problem::Status(status) if is_denied(&status) => match certificate_user {
                Some(user) => Problem::CertificateUserDenied { user },
                None => Problem::Status(status),
            },
            // The endpoint has replied before, so it is not the wrong protocol: etcd was stopped, for example.
            Problem::Closed {
                cause,
                mismatch: Mismatch::TlsEndpoint,
            } if self.identity.has_seen(&self.url) => Problem::Ended { cause },
            problem => problem,
        }
    }

    fn error(&self, class: ErrorClass, problem: Problem) -> EndpointError {
        EndpointError {
            url: self.url.clone(),
            class,
            problem,
        }
    }
}

/// A failed attempt.
struct Failed {
    error: EndpointError,
    /// Whether the call can succeed after a new login.
    needs_login: bool,
}

// === impl Failed ===

impl Failed {
    fn for_good(error: EndpointError) -> Self {
        Failed {
            error,
            needs_login: false,
        }
    }
}

#[cfg(test)]
mod tests;
