//! The distributed store: an etcd cluster, with the keys and values of Airlock.
//!
//! Each endpoint has a client of its own, since the balanced channel of one client neither leaves a dead
//! endpoint nor notices a silent one. Calls go to the endpoint that answered last; when it fails, what
//! only reads is asked of all the others at once.

mod credentials;
mod endpoint;
mod explain;
mod keys;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, Compare, CompareOp, Error, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::{Commit, GroupName, Report, Revision, Store, StoreError, Stored, Value};
pub use credentials::{Credentials, CredentialsError};
use endpoint::{Endpoint, Failure};

/// A store in etcd.
pub struct EtcdStore {
    endpoints: Vec<Endpoint>,
    /// The index of the endpoint that answered last, or [`NOBODY`].
    preferred: AtomicUsize,
    /// How long one endpoint may take for one call.
    attempt_timeout: Duration,
}

/// The most holders of a group, with ids of the length that Zincati's have: semaphore and lock times, 35
/// and 58 bytes a holder, are one request, of which etcd takes 1.5 MiB (`--max-request-bytes`).
pub const MAX_HOLDERS: u64 = 16_000;

/// Why a group cannot have so many slots, if it cannot.
pub fn too_many_slots(slots: u64) -> Option<String> {
    (slots > MAX_HOLDERS).then(|| {
        format!(
            "so many holders do not fit into one value of etcd, of which a request has at most 1.5 MiB; \
             set {MAX_HOLDERS} or less, and more groups"
        )
    })
}

/// No endpoint has answered since one failed.
const NOBODY: usize = usize::MAX;

/// What may be done about a call whose outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It changes nothing: other endpoints may be asked the same.
    Reads,
    /// It may have happened: nothing is sent again (invariant 6).
    Writes,
}

/// What the endpoints said that gave no result.
#[derive(Default)]
struct Failures {
    texts: Vec<String>,
    unknown: bool,
}

// === impl EtcdStore ===

impl EtcdStore {
    /// A store in the cluster with these endpoints (URLs with scheme). Connects when first used.
    ///
    /// `timeout` is what one request may take. One endpoint gets two fifths of it, so that there is time
    /// for two rounds: the preferred endpoint, then all the others. After the second there is an
    /// answer, or every endpoint has been asked and what it said can be told. A cluster that is merely
    /// slow is not given up too soon.
    pub fn new(endpoints: Vec<String>, credentials: Arc<Credentials>, timeout: Duration) -> Self {
        let attempt_timeout = timeout * 2 / 5;
        EtcdStore {
            endpoints: endpoints
                .into_iter()
                .map(|url| Endpoint::new(url, Arc::clone(&credentials), attempt_timeout))
                .collect(),
            preferred: AtomicUsize::new(0),
            attempt_timeout,
        }
    }

    /// Calls the preferred endpoint, then the others, as far as `effect` allows.
    async fn call<T, F>(&self, effect: Effect, call: impl Fn(Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = Failures::default();
        let preferred = self.preferred.load(Ordering::Relaxed);
        if let Some(result) = self.ask(preferred, &call, &mut failures).await? {
            return Ok(result);
        }
        let others = (0..self.endpoints.len()).filter(|index| *index != preferred);
        match effect {
            Effect::Reads => {
                let mut asked: FuturesUnordered<_> = others
                    .map(async |index| {
                        let mut failures = Failures::default();
                        let result = self.ask(index, &call, &mut failures).await;
                        (result, failures)
                    })
                    .collect();
                while let Some((result, failed)) = asked.next().await {
                    if let Some(result) = result? {
                        return Ok(result);
                    }
                    failures.extend(failed);
                }
            }
            Effect::Writes => {
                for index in others {
                    if failures.unknown {
                        break;
                    }
                    if let Some(result) = self.ask(index, &call, &mut failures).await? {
                        return Ok(result);
                    }
                }
            }
        }
        Err(failures.into_error())
    }

    /// Calls one endpoint. `None` if another may be asked; then `failures` has the reason.
    async fn ask<T, F>(
        &self,
        index: usize,
        call: impl FnOnce(Client) -> F,
        failures: &mut Failures,
    ) -> Result<Option<T>, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let Some(endpoint) = self.endpoints.get(index) else {
            return Ok(None);
        };
        let result = endpoint.call(self.attempt_timeout, call).await;
        let (preferred, next) = match &result {
            Ok(_) => (NOBODY, index),
            Err(Failure::Rejected(text)) => return Err(StoreError::Rejected(text.clone())),
            Err(Failure::Unreachable(text)) => {
                failures.texts.push(text.clone());
                (index, NOBODY)
            }
            Err(Failure::Unknown(text)) => {
                failures.texts.push(text.clone());
                failures.unknown = true;
                (index, NOBODY)
            }
        };
        // Unless another call has already seen to it.
        let _ =
            self.preferred
                .compare_exchange(preferred, next, Ordering::Relaxed, Ordering::Relaxed);
        Ok(result.ok())
    }
}

// === impl Failures ===

impl Failures {
    fn extend(&mut self, other: Failures) {
        self.texts.extend(other.texts);
        self.unknown |= other.unknown;
    }

    fn into_error(mut self) -> StoreError {
        self.texts.sort();
        let text = self.texts.join("; ");
        if self.unknown {
            StoreError::Unknown(text)
        } else {
            StoreError::Unreachable(text)
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        let read = Txn::new().and_then(get_both(group));
        let response = self.call(Effect::Reads, |client| transact(client, read.clone()));
        stored(&response.await?)
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: Revision,
        new: Option<&Value>,
    ) -> Result<Commit, StoreError> {
        let (effect, puts) = match new {
            Some(value) => (Effect::Writes, put_both(group, value)),
            None => (Effect::Reads, Vec::new()),
        };
        // SUBTLE: the gets must stay, and must not be serializable, also where nothing is written: etcd
        // answers a transaction without a linearizable range from the member's own state, which may
        // be old (invariant 4). See `IsTxnSerializable` in etcd's server/etcdserver/txn.
        let transaction = Txn::new()
            .when([Compare::mod_revision(
                keys::semaphore(group),
                CompareOp::Equal,
                expected.0,
            )])
            .and_then(puts)
            .or_else(get_both(group));
        let response = self
            .call(effect, |client| transact(client, transaction.clone()))
            .await?;
        if !response.succeeded() {
            return stored(&response).map(Commit::Conflict);
        }
        Ok(Commit::Committed(match new {
            Some(_) => header_revision(&response)?,
            None => expected,
        }))
    }

    fn place(&self, group: &GroupName) -> String {
        format!("etcd key {}", keys::semaphore(group))
    }

    async fn follow(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        match watch::follow(self, groups, report).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

async fn transact(client: Client, transaction: Txn) -> Result<TxnResponse, Error> {
    client.kv_client().txn(transaction).await
}

fn get_both(group: &GroupName) -> Vec<TxnOp> {
    vec![
        TxnOp::get(keys::semaphore(group), None),
        TxnOp::get(keys::lock_times(group), None),
    ]
}

fn put_both(group: &GroupName, value: &Value) -> Vec<TxnOp> {
    let mut puts = vec![TxnOp::put(
        keys::semaphore(group),
        value.semaphore.clone(),
        None,
    )];
    if let Some(lock_times) = &value.lock_times {
        puts.push(TxnOp::put(
            keys::lock_times(group),
            lock_times.clone(),
            None,
        ));
    }
    puts
}

/// Reads the answer to [`get_both`].
fn stored(response: &TxnResponse) -> Result<Stored, StoreError> {
    let as_of = header_revision(response)?;
    let found = response.op_responses();
    let [
        TxnOpResponse::Get(semaphore),
        TxnOpResponse::Get(lock_times),
    ] = found.as_slice()
    else {
        return Err(malformed("it does not have the two ranges asked for"));
    };
    Ok(match semaphore.kvs().first() {
        Some(semaphore) => present(semaphore, lock_times.kvs().first(), as_of),
        None => Stored::absent(as_of),
    })
}

/// A value as its two keys have it. Lock times of another revision are from before an Airlock wrote.
fn present(semaphore: &KeyValue, lock_times: Option<&KeyValue>, as_of: Revision) -> Stored {
    Stored {
        revision: Revision(semaphore.mod_revision()),
        value: Some(Value {
            semaphore: semaphore.value().to_vec(),
            lock_times: lock_times
                .filter(|times| times.mod_revision() == semaphore.mod_revision())
                .map(|times| times.value().to_vec()),
        }),
        as_of,
    }
}

fn header_revision(response: &TxnResponse) -> Result<Revision, StoreError> {
    match response.header() {
        Some(header) => Ok(Revision(header.revision())),
        None => Err(malformed("it has no header")),
    }
}

fn malformed(what: &str) -> StoreError {
    StoreError::Unknown(format!("unexpected answer of etcd: {what}"))
}
