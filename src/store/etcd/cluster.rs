//! The calls to a cluster: to the preferred endpoint first, then to the others.
//!
//! Each endpoint has its own client, because the balanced channel of one client neither leaves a dead endpoint nor
//! notices a silent one. A call goes to the preferred endpoint, the one that replied last. If that fails, a call that
//! only reads goes to all other endpoints at the same time, and a write goes to them in turn.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, Error};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Mutex;

use super::class::ErrorClass;
use super::client::EndpointClient;
use super::credentials::Credentials;
use super::error::{EndpointError, EtcdError};
use super::identity::{Identity, Settled};
use super::response::Response;
use crate::store::{Endpoints, Notice, StoreError};

/// The endpoints of a cluster.
pub(super) struct Cluster {
    endpoints: Vec<EndpointClient>,
    /// Other clients of the same endpoints, for calls that no lock depends on: neither an error nor a large response delays
    /// the calls for locks, which have another connection.
    aside: Vec<EndpointClient>,
    /// The index of the endpoint that replied last, or [`NONE`].
    preferred: AtomicUsize,
    /// The timeout of a call to one endpoint.
    attempt_timeout: Duration,
    identity: Arc<Identity>,
    settling: Settling,
    /// The number of endpoints that replied when all were called last, or [`NONE`].
    replied: AtomicUsize,
}

/// The attempts to find out to which cluster the endpoints belong, one at a time.
#[derive(Default)]
struct Settling {
    /// The number of attempts that have ended.
    ended: AtomicU64,
    /// The error of the latest attempt.
    latest: Mutex<Option<StoreError>>,
}

/// No endpoint is preferred: the preferred one failed, and none has replied since. Or: the endpoints were not called yet.
const NONE: usize = usize::MAX;

/// The effect of a call, which determines what may follow if its outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The call only reads: it may be repeated on other endpoints.
    Reads,
    /// The call writes: it is not sent again if it may have had an effect (invariant 6).
    Writes,
}

/// The errors of the endpoints that were tried.
type Failures = Vec<EndpointError>;

// === impl Cluster ===

impl Cluster {
    /// Creates a cluster with these endpoints (URLs with scheme).
    ///
    /// One endpoint gets two fifths of `timeout`. A read takes two rounds, the preferred endpoint, then all others
    /// together, so every endpoint is tried before the timeout, and each error is reported. A cluster that is merely
    /// slow is not given up too early. A write tries the other endpoints in turn, as long as it provably had no effect.
    /// Then it can exceed `timeout` if several endpoints drop all packets; the deadlines of requests hold nevertheless.
    pub(super) fn new(
        endpoints: Vec<String>,
        credentials: &Arc<Credentials>,
        timeout: Duration,
    ) -> Self {
        let attempt_timeout = timeout * 2 / 5;
        let identity = Arc::new(Identity::new(credentials.settings().cluster_id));
        let endpoint = |url: &String| {
            let url = url.clone();
            let (credentials, identity) = (Arc::clone(credentials), Arc::clone(&identity));
            EndpointClient::new(url, credentials, identity, attempt_timeout)
        };
        Cluster {
            endpoints: endpoints.iter().map(endpoint).collect(),
            aside: endpoints.iter().map(endpoint).collect(),
            preferred: AtomicUsize::new(0),
            attempt_timeout,
            identity,
            settling: Settling::default(),
            replied: AtomicUsize::new(NONE),
        }
    }

    /// Accepts another cluster, if all endpoints belong to it and the configuration does not name another one.
    pub(super) fn accept_current(&self) {
        self.identity.reconsider();
    }

    /// Returns the facts that an operator should know although calls succeed.
    pub(super) fn notices(&self, user: Option<&str>) -> Vec<Notice> {
        let mut notices = self.identity.notices();
        if let Some(user) = user
            && self.endpoints.iter().any(EndpointClient::is_auth_disabled)
        {
            let user = user.to_owned();
            notices.push(Notice::AuthDisabled { user });
        }
        notices
    }

    /// Calls every endpoint, which finds those that belong to another cluster. Returns the errors.
    pub(super) async fn verify_endpoints(&self) -> Failures {
        let timeout = self.attempt_timeout;
        let verified = join_all(
            self.endpoints
                .iter()
                .map(|endpoint| endpoint.verify(timeout)),
        );
        let verified = verified.await;
        let replied = verified.iter().filter(|result| result.is_ok()).count();
        self.replied.store(replied, Ordering::Relaxed);
        verified.into_iter().filter_map(Result::err).collect()
    }

    /// Returns what the latest call of every endpoint has found.
    pub(super) fn endpoints(&self) -> Option<Endpoints> {
        let replied = self.replied.load(Ordering::Relaxed);
        (replied != NONE).then(|| Endpoints {
            cluster_id: self.identity.cluster().map(|id| id.to_string()),
            configured: self.endpoints.len(),
            replied,
        })
    }

    /// Returns the URLs of the endpoints.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(EndpointClient::url)
    }

    /// Makes a call to the preferred endpoint, then to the others, as far as `effect` allows.
    pub(super) async fn call<T, F>(
        &self,
        effect: Effect,
        call: impl Fn(Client) -> F,
    ) -> Result<T, StoreError>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        self.settle().await?;
        let mut failures = Failures::new();
        let preferred = self.preferred.load(Ordering::Relaxed);
        if let Some(result) = self.try_endpoint(preferred, &call, &mut failures).await? {
            return Ok(result);
        }
        let others = (0..self.endpoints.len()).filter(|index| *index != preferred);
        let result = match effect {
            Effect::Reads => self.try_together(others, &call, &mut failures).await?,
            Effect::Writes => self.try_in_turn(others, &call, &mut failures).await?,
        };
        result.ok_or_else(|| into_error(failures))
    }

    /// Makes a call that no lock depends on, to the preferred endpoint only, on a connection of its own. It has no influence
    /// on which one that is: an endpoint that replies to it need not be able to commit.
    pub(super) async fn call_aside<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, StoreError>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        self.settle().await?;
        let preferred = self.preferred.load(Ordering::Relaxed);
        let endpoint = self.aside.get(preferred).or(self.aside.first());
        let Some(endpoint) = endpoint else {
            return Err(into_error(Failures::new()));
        };
        endpoint
            .call(self.attempt_timeout, call)
            .await
            .map_err(|error| {
                let is_denied = error.problem.is_denied();
                let error = EtcdError::Endpoints(vec![error]);
                match is_denied {
                    true => StoreError::rejected(error),
                    false => StoreError::unreachable(error),
                }
            })
    }

    /// Decides which cluster is used, at the first call: asks all endpoints, also those that are not needed.
    ///
    /// A call that waits for the attempt of another one takes its result, so that many calls wait no longer than one.
    async fn settle(&self) -> Result<(), StoreError> {
        if self.identity.settled() == Settled::Yes {
            return Ok(());
        }
        let ended = self.settling.ended.load(Ordering::Relaxed);
        let mut latest = self.settling.latest.lock().await;
        if self.settling.ended.load(Ordering::Relaxed) == ended {
            *latest = self.ask_for_the_cluster().await.err();
            self.settling.ended.fetch_add(1, Ordering::Relaxed);
        }
        latest.clone().map_or(Ok(()), Err)
    }

    /// Asks all endpoints for their cluster until it is decided which one is used.
    async fn ask_for_the_cluster(&self) -> Result<(), StoreError> {
        let mut failures = Failures::new();
        while self.identity.settled() == Settled::No {
            let generation = self.identity.generation();
            failures = self.verify_endpoints().await;
            if self.identity.settle(self.endpoints.len(), generation) {
                break;
            }
        }
        match self.identity.settled() {
            Settled::Yes => Ok(()),
            Settled::No => Err(into_error(failures)),
            Settled::Split(replied) => {
                let endpoint = |url: &str| (url.to_owned(), replied.get(url).copied());
                let endpoints = self.urls().map(endpoint).collect();
                Err(StoreError::rejected(EtcdError::Split(endpoints)))
            }
        }
    }

    /// Makes a call to several endpoints at the same time, and returns the first result.
    async fn try_together<T, F>(
        &self,
        indexes: impl Iterator<Item = usize>,
        call: &impl Fn(Client) -> F,
        failures: &mut Failures,
    ) -> Result<Option<T>, StoreError>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        let mut calls: FuturesUnordered<_> = indexes
            .map(async |index| {
                let mut failures = Failures::new();
                let result = self.try_endpoint(index, call, &mut failures).await;
                (result, failures)
            })
            .collect();
        while let Some((result, failed)) = calls.next().await {
            if let Some(result) = result? {
                return Ok(Some(result));
            }
            failures.extend(failed);
        }
        Ok(None)
    }

    /// Makes a call to one endpoint after the other, until one returns a result or the outcome is unknown.
    async fn try_in_turn<T, F>(
        &self,
        indexes: impl Iterator<Item = usize>,
        call: &impl Fn(Client) -> F,
        failures: &mut Failures,
    ) -> Result<Option<T>, StoreError>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        for index in indexes {
            if is_unknown(failures) {
                break;
            }
            if let Some(result) = self.try_endpoint(index, call, failures).await? {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    /// Makes a call to one endpoint. Returns `None` if another endpoint may return a result; `failures` then contains
    /// the error. An `index` that is [`NONE`] has no endpoint.
    async fn try_endpoint<T, F>(
        &self,
        index: usize,
        call: impl Fn(Client) -> F,
        failures: &mut Failures,
    ) -> Result<Option<T>, StoreError>
    where
        T: Response,
        F: Future<Output = Result<T, Error>>,
    {
        let Some(endpoint) = self.endpoints.get(index) else {
            return Ok(None);
        };
        let before = self.identity.latest_revision();
        match endpoint.call(self.attempt_timeout, call).await {
            Ok(result) => {
                // A watch has no header yet.
                if let Some(header) = result.header() {
                    self.identity.record_revision(before, header.revision());
                }
                self.replace_preferred(NONE, index);
                Ok(Some(result))
            }
            Err(error) => match error.class {
                ErrorClass::Rejected => {
                    Err(StoreError::rejected(EtcdError::Endpoints(vec![error])))
                }
                ErrorClass::NoSpace => Err(StoreError::no_space(EtcdError::Endpoints(vec![error]))),
                ErrorClass::Refused | ErrorClass::Unreachable | ErrorClass::Unknown => {
                    self.replace_preferred(index, NONE);
                    failures.push(error);
                    Ok(None)
                }
            },
        }
    }

    /// Replaces the preferred endpoint, unless another call already did.
    fn replace_preferred(&self, current: usize, new: usize) {
        let _ = self
            .preferred
            .compare_exchange(current, new, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn is_unknown(failures: &[EndpointError]) -> bool {
    let mut classes = failures.iter().map(|error| error.class);
    classes.any(|class| class == ErrorClass::Unknown)
}

fn into_error(failures: Failures) -> StoreError {
    let all = |class| failures.iter().all(|error| error.class == class);
    // Permissions belong to the cluster, and etcd checks those of reads and writes on the state as of the request: an
    // endpoint that did not reply would deny it too.
    let is_denied = failures.iter().any(|error| error.problem.is_denied());
    if is_unknown(&failures) {
        StoreError::unknown(EtcdError::Endpoints(failures))
    } else if is_denied || !failures.is_empty() && all(ErrorClass::Refused) {
        StoreError::rejected(EtcdError::Endpoints(failures))
    } else {
        StoreError::unreachable(EtcdError::Endpoints(failures))
    }
}

#[cfg(test)]
mod tests;
