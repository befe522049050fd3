//! The documents of servers: two keys for each, with leases.
//!
//! etcd keeps every version of a key until it is compacted, so an unchanged document is not written again. That its server
//! runs shows in a second key, whose lease expires soon: to keep a lease alive writes nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::keys;
use super::transaction::{MAX_RESPONSE, transact};
use crate::store::StoreError;
use crate::store::presence::{KEPT, Liveness, MAX_SILENCE, Published};

/// The interval at which the lease of the document is kept alive: the precision with which it tells when a server that is
/// gone was last seen.
const KEEP_INTERVAL: Duration = Duration::from_secs(300);

/// The documents in one cluster.
#[derive(Default)]
pub(super) struct Presence {
    own: Mutex<Own>,
    /// When servers that are gone were last seen, by the lease of their document, which no server keeps alive any more.
    last_seen: Mutex<HashMap<i64, Timestamp>>,
}

/// The document of this server.
#[derive(Default)]
struct Own {
    /// The document in etcd, as far as is known.
    document: Option<String>,
    /// The lease of the key that shows that the server runs.
    alive: Option<i64>,
    /// The lease of the document, and when it was last kept alive.
    kept: Option<(i64, Instant)>,
}

// === impl Presence ===

impl Presence {
    /// Implements [`crate::store::Store::publish`].
    pub(super) async fn publish(
        &self,
        cluster: &Cluster,
        server: &str,
        document: &str,
    ) -> Result<(), StoreError> {
        let mut own = self.own.lock().await;
        let (alive, kept) = own.renew_leases(cluster).await?;
        if own.document.as_deref() == Some(document) {
            return Ok(());
        }
        // Until it is known to be there.
        own.document = None;
        let put = |client| {
            let with = |lease| Some(PutOptions::new().with_lease(lease));
            let puts = vec![
                TxnOp::put(keys::server_document(server), document, with(kept)),
                TxnOp::put(keys::server_alive(server), "", with(alive)),
            ];
            transact(client, Txn::new().and_then(puts))
        };
        cluster.call_aside(put).await?;
        own.document = Some(document.to_owned());
        Ok(())
    }

    /// Implements [`crate::store::Store::withdraw`].
    pub(super) async fn withdraw(&self, cluster: &Cluster, server: &str) -> Result<(), StoreError> {
        let delete = |client| {
            let deletes = vec![
                TxnOp::delete(keys::server_document(server), None),
                TxnOp::delete(keys::server_alive(server), None),
            ];
            transact(client, Txn::new().and_then(deletes))
        };
        cluster.call_aside(delete).await?;
        *self.own.lock().await = Own::default();
        Ok(())
    }

    /// Implements [`crate::store::Store::published`].
    pub(super) async fn published(&self, cluster: &Cluster) -> Result<Vec<Published>, StoreError> {
        // No lock depends on it, so the state of any member is good enough.
        let options = GetOptions::new().with_prefix().with_serializable();
        let get = |client: Client| {
            let options = options.clone();
            async move {
                let client = client.kv_client();
                let mut client = client.max_decoding_message_size(MAX_RESPONSE);
                client.get(keys::SERVERS, Some(options)).await
            }
        };
        let mut response = cluster.call_aside(get).await?;
        let (mut documents, mut alive) = (Vec::new(), Vec::new());
        for entry in response.take_kvs() {
            let lease = entry.lease();
            let Some(key) = entry.key_str().ok().and_then(keys::parse_server) else {
                continue;
            };
            match key {
                keys::ServerKey::Alive(server) => alive.push(server),
                keys::ServerKey::Document(server) => {
                    let document = String::from_utf8_lossy(entry.value()).into_owned();
                    documents.push((server, document, lease));
                }
            }
        }
        let mut published = Vec::new();
        let mut gone = HashMap::new();
        for (server, document, lease) in documents {
            let liveness = if alive.contains(&server) {
                Liveness::Alive
            } else {
                let last_seen = self.last_seen(cluster, lease).await;
                gone.extend(last_seen.map(|at| (lease, at)));
                Liveness::Gone { last_seen }
            };
            published.push(Published {
                server,
                document,
                liveness,
            });
        }
        *self.last_seen.lock().await = gone;
        published.sort_by(|a, b| a.server.cmp(&b.server));
        Ok(published)
    }

    /// Returns when a server that is gone was last seen, which the rest of the lease of its document tells.
    async fn last_seen(&self, cluster: &Cluster, lease: i64) -> Option<Timestamp> {
        if let Some(known) = self.last_seen.lock().await.get(&lease) {
            return Some(*known);
        }
        let ask =
            |client: Client| async move { client.lease_client().time_to_live(lease, None).await };
        let response = cluster.call_aside(ask).await.ok()?;
        let age = response.granted_ttl().checked_sub(response.ttl())?;
        Timestamp::now()
            .checked_sub(SignedDuration::from_secs(age))
            .ok()
    }
}

// === impl Own ===

impl Own {
    /// Keeps both leases alive, or replaces them. Returns them: that of the key that shows that the server runs, and that
    /// of the document.
    async fn renew_leases(&mut self, cluster: &Cluster) -> Result<(i64, i64), StoreError> {
        let alive = match self.alive.take() {
            Some(alive) if keep(cluster, alive).await.is_ok() => alive,
            Some(_) | None => {
                self.document = None;
                grant(cluster, MAX_SILENCE).await?
            }
        };
        self.alive = Some(alive);
        let kept = match self.kept.take() {
            Some((kept, at)) if at.elapsed() < KEEP_INTERVAL => (kept, at),
            Some((kept, _)) if keep(cluster, kept).await.is_ok() => (kept, Instant::now()),
            Some(_) | None => {
                self.document = None;
                (grant(cluster, KEPT).await?, Instant::now())
            }
        };
        self.kept = Some(kept);
        Ok((alive, kept.0))
    }
}

async fn grant(cluster: &Cluster, time: Duration) -> Result<i64, StoreError> {
    let seconds = time.as_secs().cast_signed();
    let grant = |client: Client| async move { client.lease_client().grant(seconds, None).await };
    let response = cluster.call_aside(grant).await?;
    Ok(response.id())
}

async fn keep(
    cluster: &Cluster,
    lease: i64,
) -> Result<(LeaseKeeper, LeaseKeepAliveStream), StoreError> {
    let call = |client: Client| async move { client.lease_client().keep_alive(lease).await };
    cluster.call_aside(call).await
}
