//! The requests that read and write the two keys of a group.
//!
//! Reads and confirmations are linearizable Range requests: etcd answers them while it is out of space, and in 3.4 and
//! 3.5 it did not always answer transactions then, not even those that only read. Several groups are confirmed in one
//! transaction, and with such requests only if etcd refuses that.

use std::iter;

use etcd_client::{
    Client, Compare, CompareOp, Error, GetOptions, GetResponse, KeyValue, ResponseHeader, Txn,
    TxnOp, TxnOpResponse, TxnResponse,
};
use futures_util::future::try_join_all;

use super::cluster::{Cluster, Effect};
use super::error::EtcdError;
use super::keys;
use crate::lock::GroupName;
use crate::lock::codec::{LockTimes, Revision, Stored, Value};
use crate::store::{CommitOutcome, Conflict, Member, StoreError};

/// The maximum size of a response in bytes. By default, etcd limits one value to 1.5 MiB; a response contains the values
/// of several groups.
pub(super) const MAX_RESPONSE: usize = 128 << 20;

/// The maximum size of lock times that a commit compares. Those of larger groups, of about 4,500 holders, would not fit
/// into a request to etcd a second time; the semaphore is always compared.
const MAX_COMPARED_TIMES: usize = 256 << 10;

/// The maximum number of keys in one response without values.
const KEYS_PAGE: i64 = 4096;

/// A revision that no key has.
const IMPOSSIBLE: i64 = -1;

/// Reads the value of a group.
pub(super) async fn read(cluster: &Cluster, group: &GroupName) -> Result<Stored, StoreError> {
    let response = get(cluster, keys::semaphore(group), None).await?;
    let as_of = header_revision(response.header())?;
    complete(cluster, group, &response, as_of).await
}

/// Compares the value of a group with `expected`, and those of the members, and writes `new` if there is one.
pub(super) async fn commit(
    cluster: &Cluster,
    group: &GroupName,
    expected: &Stored,
    new: Option<&Value>,
    also: &[Member<'_>],
) -> Result<CommitOutcome, StoreError> {
    match new {
        Some(new) => write(cluster, group, expected, new, also).await,
        None if also.is_empty() => confirm(cluster, group, expected).await,
        None => confirm_all(cluster, group, expected, also).await,
    }
}

/// Asks for a write that can never happen.
pub(super) async fn check_writable(cluster: &Cluster, group: &GroupName) -> Result<(), StoreError> {
    let transaction = never_applies(group);
    let call = |client| transact(client, transaction.clone());
    // Nothing is written, so another endpoint may be asked as well.
    cluster.call(Effect::Reads, call).await?;
    Ok(())
}

/// Returns a write to a group that can never happen. etcd verifies the permission and the space, and writes nothing.
///
/// SUBTLE: if the database is so close to its quota that not even an empty value fits, etcd raises the alarm NOSPACE,
/// as it would at the next lock. If the comparison did match, the value would be damaged, which grants nothing.
pub(super) fn never_applies(group: &GroupName) -> Txn {
    let empty = Value {
        semaphore: Vec::new(),
        lock_times: LockTimes::Current(Vec::new()),
    };
    let never = Compare::mod_revision(keys::semaphore(group), CompareOp::Equal, IMPOSSIBLE);
    Txn::new().when([never]).and_then(put_both(group, &empty))
}

async fn confirm(
    cluster: &Cluster,
    group: &GroupName,
    expected: &Stored,
) -> Result<CommitOutcome, StoreError> {
    let response = get(cluster, keys::semaphore(group), None).await?;
    let is_expected = match (response.kvs().first(), &expected.value) {
        (None, None) => true,
        (Some(found), Some(value)) => {
            found.mod_revision() == expected.revision.0 && found.value() == value.semaphore
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    if is_expected {
        return Ok(CommitOutcome::Committed(expected.revision));
    }
    let as_of = header_revision(response.header())?;
    let current = complete(cluster, group, &response, as_of).await?;
    Ok(CommitOutcome::Conflict(Conflict {
        current,
        members: Vec::new(),
    }))
}

async fn confirm_all(
    cluster: &Cluster,
    group: &GroupName,
    expected: &Stored,
    also: &[Member<'_>],
) -> Result<CommitOutcome, StoreError> {
    let mut compares = compare_semaphore(group, expected);
    compares.extend(compare_members(also));
    // SUBTLE: without a get that is not serializable, a member of etcd answers from its own state (invariant 4).
    let transaction = Txn::new().when(compares).or_else(get_all(group, also));
    let call = |client| transact(client, transaction.clone());
    match cluster.call(Effect::Reads, call).await {
        Ok(response) if response.succeeded() => Ok(CommitOutcome::Committed(expected.revision)),
        Ok(response) => conflict(&response, also),
        Err(StoreError::NoSpace(_)) => confirm_with_ranges(cluster, group, expected, also).await,
        Err(error) => Err(error),
    }
}

/// Confirms what an etcd without space contains, with several requests for the same revision of the store.
async fn confirm_with_ranges(
    cluster: &Cluster,
    group: &GroupName,
    expected: &Stored,
    also: &[Member<'_>],
) -> Result<CommitOutcome, StoreError> {
    let current = read(cluster, group).await?;
    let reads = also
        .iter()
        .map(|member| read_as_of(cluster, member.group, current.as_of));
    let members = try_join_all(reads).await?;
    let own = Member {
        group,
        stored: expected,
    };
    let compared = iter::once(&own).chain(also);
    let found = iter::once(&current).chain(&members);
    if compared
        .zip(found)
        .all(|(member, found)| member.is_still(found))
    {
        return Ok(CommitOutcome::Committed(expected.revision));
    }
    Ok(CommitOutcome::Conflict(Conflict { current, members }))
}

async fn write(
    cluster: &Cluster,
    group: &GroupName,
    expected: &Stored,
    new: &Value,
    also: &[Member<'_>],
) -> Result<CommitOutcome, StoreError> {
    let call = |client| {
        let mut compares = compare_both(group, expected);
        compares.extend(compare_members(also));
        // SUBTLE: the gets must not be serializable: they are the base of the next attempt (invariant 4).
        let transaction = Txn::new()
            .when(compares)
            .and_then(put_both(group, new))
            .or_else(get_all(group, also));
        transact(client, transaction)
    };
    let response = cluster.call(Effect::Writes, call).await?;
    if response.succeeded() {
        let revision = header_revision(response.header())?;
        return Ok(CommitOutcome::Committed(revision));
    }
    conflict(&response, also)
}

/// Requires the semaphore that was read, and the lock times.
fn compare_both(group: &GroupName, expected: &Stored) -> Vec<Compare> {
    let mut compares = compare_semaphore(group, expected);
    if let Some(value) = &expected.value {
        // An administrator's command can depend on the time of a grant.
        if let Some(lock_times) = value.lock_times.current()
            && lock_times.len() <= MAX_COMPARED_TIMES
        {
            compares.push(Compare::value(
                keys::lock_times(group),
                CompareOp::Equal,
                lock_times,
            ));
        }
    }
    compares
}

fn compare_members(also: &[Member<'_>]) -> impl Iterator<Item = Compare> {
    also.iter()
        .flat_map(|member| compare_semaphore(member.group, member.stored))
}

/// Requires the revision and the bytes that were read: a cluster that was restored from a backup uses the revisions
/// after the backup again, for other values (invariant 11).
fn compare_semaphore(group: &GroupName, expected: &Stored) -> Vec<Compare> {
    let semaphore = keys::semaphore(group);
    let revision = expected.revision.0;
    let mut compares = vec![Compare::mod_revision(
        semaphore.clone(),
        CompareOp::Equal,
        revision,
    )];
    if let Some(value) = &expected.value {
        compares.push(Compare::value(
            semaphore,
            CompareOp::Equal,
            value.semaphore.clone(),
        ));
    }
    compares
}

pub(super) async fn transact(client: Client, transaction: Txn) -> Result<TxnResponse, Error> {
    let mut client = client.kv_client().max_decoding_message_size(MAX_RESPONSE);
    client.txn(transaction).await
}

/// Returns the groups that have a value.
pub(super) async fn groups(cluster: &Cluster) -> Result<Vec<GroupName>, StoreError> {
    let mut found = Vec::new();
    let mut from = keys::first_of_groups().into_bytes();
    loop {
        let options = GetOptions::new()
            .with_range(keys::prefix_end())
            .with_keys_only()
            .with_limit(KEYS_PAGE);
        let page = get(cluster, from, Some(options)).await?;
        let names = page.kvs().iter().filter_map(|entry| entry.key_str().ok());
        found.extend(names.filter_map(keys::parse_semaphore));
        match page.kvs().last() {
            Some(last) if page.more() => from = [last.key(), b"\0"].concat(),
            Some(_) | None => return Ok(found),
        }
    }
}

/// Makes a Range request.
pub(super) async fn get(
    cluster: &Cluster,
    key: impl Into<Vec<u8>>,
    options: Option<GetOptions>,
) -> Result<GetResponse, StoreError> {
    let key = key.into();
    let call = |client: Client| {
        let (key, options) = (key.clone(), options.clone());
        async move {
            let mut client = client.kv_client().max_decoding_message_size(MAX_RESPONSE);
            client.get(key, options).await
        }
    };
    cluster.call(Effect::Reads, call).await
}

/// Reads the value that a group had at a revision of the store.
async fn read_as_of(
    cluster: &Cluster,
    group: &GroupName,
    as_of: Revision,
) -> Result<Stored, StoreError> {
    let at_that_time = GetOptions::new().with_revision(as_of.0);
    let response = get(cluster, keys::semaphore(group), Some(at_that_time)).await?;
    complete(cluster, group, &response, as_of).await
}

/// Completes a response that contains the semaphore of a group with the lock times of the same revision of the store.
/// These are two requests, because a user of etcd may be permitted to read the two keys, but not all keys between them.
async fn complete(
    cluster: &Cluster,
    group: &GroupName,
    response: &GetResponse,
    as_of: Revision,
) -> Result<Stored, StoreError> {
    let Some(semaphore) = response.kvs().first() else {
        return Ok(Stored::absent(as_of));
    };
    let at_that_time = GetOptions::new().with_revision(as_of.0);
    let lock_times = get(cluster, keys::lock_times(group), Some(at_that_time)).await?;
    Ok(present(semaphore, lock_times.kvs().first(), as_of))
}

/// Reads both keys of the group, and of each member.
fn get_all(group: &GroupName, also: &[Member<'_>]) -> Vec<TxnOp> {
    let groups = iter::once(group).chain(also.iter().map(|member| member.group));
    let keys = groups.flat_map(|group| [keys::semaphore(group), keys::lock_times(group)]);
    keys.map(|key| TxnOp::get(key, None)).collect()
}

fn put_both(group: &GroupName, value: &Value) -> Vec<TxnOp> {
    let mut puts = vec![TxnOp::put(
        keys::semaphore(group),
        value.semaphore.clone(),
        None,
    )];
    if let Some(lock_times) = value.lock_times.current() {
        puts.push(TxnOp::put(keys::lock_times(group), lock_times, None));
    }
    puts
}

/// Decodes the response to [`get_all`].
fn conflict(response: &TxnResponse, also: &[Member<'_>]) -> Result<CommitOutcome, StoreError> {
    let as_of = header_revision(response.header())?;
    let mut found = response.op_responses().into_iter();
    let mut next = || match (found.next(), found.next()) {
        (Some(TxnOpResponse::Get(semaphore)), Some(TxnOpResponse::Get(lock_times))) => {
            Ok(match semaphore.kvs().first() {
                Some(semaphore) => present(semaphore, lock_times.kvs().first(), as_of),
                None => Stored::absent(as_of),
            })
        }
        _ => Err(malformed("it does not contain the requested ranges")),
    };
    Ok(CommitOutcome::Conflict(Conflict {
        current: next()?,
        members: also.iter().map(|_| next()).collect::<Result<_, _>>()?,
    }))
}

/// Combines the values of the two keys. Lock times of another revision are outdated: coreos/airlock or an administrator
/// wrote the semaphore after them, and left them alone.
pub(super) fn present(
    semaphore: &KeyValue,
    lock_times: Option<&KeyValue>,
    as_of: Revision,
) -> Stored {
    Stored {
        revision: Revision(semaphore.mod_revision()),
        value: Some(Value {
            semaphore: semaphore.value().to_vec(),
            lock_times: match lock_times {
                None => LockTimes::Absent,
                Some(times) if times.mod_revision() == semaphore.mod_revision() => {
                    LockTimes::Current(times.value().to_vec())
                }
                Some(times) => LockTimes::Outdated(times.value().to_vec()),
            },
        }),
        as_of,
    }
}

pub(super) fn header_revision(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    match header {
        Some(header) => Ok(Revision(header.revision())),
        None => Err(malformed("it contains no header")),
    }
}

fn malformed(problem: &'static str) -> StoreError {
    StoreError::unknown(EtcdError::MalformedResponse(problem))
}

#[cfg(test)]
mod tests;
