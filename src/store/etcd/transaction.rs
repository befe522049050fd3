//! The transactions that read and write the two keys of a group.

use etcd_client::{
    Client, Compare, CompareOp, Error, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::cluster::{Cluster, Effect};
use super::error::EtcdError;
use super::keys;
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};
use crate::store::{CommitOutcome, StoreError};

/// Reads the value of a group.
pub(super) async fn read(cluster: &Cluster, group: &GroupName) -> Result<Stored, StoreError> {
    let read = Txn::new().and_then(get_both(group));
    let response = cluster.call(Effect::Reads, |client| transact(client, read.clone()));
    stored(&response.await?)
}

/// Compares the revision of a group, and writes `new` if there is one.
pub(super) async fn commit(
    cluster: &Cluster,
    group: &GroupName,
    expected: Revision,
    new: Option<&Value>,
) -> Result<CommitOutcome, StoreError> {
    let (effect, puts) = match new {
        Some(value) => (Effect::Writes, put_both(group, value)),
        None => (Effect::Reads, Vec::new()),
    };
    // SUBTLE: the gets must stay and must not be serializable, even if nothing is written. etcd serves a transaction
    // without a linearizable range from the state of one member, which may be stale (invariant 4). See
    // `IsTxnSerializable` in etcd's server/etcdserver/txn.
    let transaction = Txn::new()
        .when([Compare::mod_revision(
            keys::semaphore(group),
            CompareOp::Equal,
            expected.0,
        )])
        .and_then(puts)
        .or_else(get_both(group));
    let response = cluster
        .call(effect, |client| transact(client, transaction.clone()))
        .await?;
    if !response.succeeded() {
        return stored(&response).map(CommitOutcome::Conflict);
    }
    Ok(CommitOutcome::Committed(match new {
        Some(_) => header_revision(&response)?,
        None => expected,
    }))
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

/// Decodes the response to [`get_both`].
fn stored(response: &TxnResponse) -> Result<Stored, StoreError> {
    let as_of = header_revision(response)?;
    let found = response.op_responses();
    let [
        TxnOpResponse::Get(semaphore),
        TxnOpResponse::Get(lock_times),
    ] = found.as_slice()
    else {
        return Err(malformed("it does not contain the two requested ranges"));
    };
    Ok(match semaphore.kvs().first() {
        Some(semaphore) => present(semaphore, lock_times.kvs().first(), as_of),
        None => Stored::absent(as_of),
    })
}

/// Combines the values of the two keys. Lock times of another revision are outdated: coreos/airlock or an administrator
/// wrote the semaphore after them.
pub(super) fn present(
    semaphore: &KeyValue,
    lock_times: Option<&KeyValue>,
    as_of: Revision,
) -> Stored {
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
        None => Err(malformed("it contains no header")),
    }
}

fn malformed(problem: &'static str) -> StoreError {
    StoreError::unknown(EtcdError::MalformedResponse(problem))
}
