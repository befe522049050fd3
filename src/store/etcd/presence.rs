//! The documents of servers: two keys for each, with leases.
//!
//! etcd keeps every version of a key until it is compacted, so an unchanged document is not written again. That its server
//! runs shows in a second key, whose lease expires soon: to keep a lease alive writes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use etcd_client::{
    Client, GetOptions, KeyValue, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp,
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::keys::{self, ServerKey};
use super::transaction::{MAX_RESPONSE, transact};
use crate::store::StoreError;
use crate::store::presence::{INTERVAL, KEPT, Liveness, MAX_SILENCE, Published};

/// The interval at which the lease of the document is kept alive: the precision with which it tells when a server that is
/// gone was last seen.
const KEEP_INTERVAL: Duration = Duration::from_secs(300);

/// A document is kept for one [`INTERVAL`] more for each of so many bytes, because etcd keeps all its versions: one that
/// changes all the time adds at most some 400 bytes per second.
const BYTES_PER_INTERVAL: usize = 4096;

/// The documents in one cluster.
#[derive(Default)]
pub(super) struct Presence {
    own: Mutex<Own>,
    /// The documents of all servers as they were read last, so that only those that have changed are read again.
    known: Mutex<BTreeMap<String, Known>>,
    /// When servers that are gone were last seen, by the lease of their document, which no server keeps alive any more.
    last_seen: Mutex<HashMap<i64, Timestamp>>,
}

/// The document of this server.
#[derive(Default)]
struct Own {
    /// What is in etcd, as far as is known.
    written: Option<Written>,
    /// The lease of the key that shows that the server runs.
    alive: Option<i64>,
    /// The lease of the document, and when it was last kept alive.
    kept: Option<(i64, Instant)>,
}

/// A document that was written.
struct Written {
    server: String,
    document: String,
    at: Instant,
}

/// A document that was read.
struct Known {
    document: String,
    modified: i64,
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
        if let Some(written) = &own.written
            && written.is_good_enough(server, document)
        {
            return Ok(());
        }
        // Until it is known to be there.
        own.written = None;
        let put = |client| {
            let with = |lease| Some(PutOptions::new().with_lease(lease));
            let puts = vec![
                TxnOp::put(keys::server_document(server), document, with(kept)),
                TxnOp::put(keys::server_alive(server), "", with(alive)),
            ];
            transact(client, Txn::new().and_then(puts))
        };
        cluster.call_aside(put).await?;
        own.written = Some(Written {
            server: server.to_owned(),
            document: document.to_owned(),
            at: Instant::now(),
        });
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
        let (mut documents, mut alive) = (BTreeMap::new(), HashSet::new());
        for entry in get(cluster, GetOptions::new().with_keys_only()).await? {
            match entry.key_str().ok().and_then(keys::parse_server) {
                Some(ServerKey::Alive(server)) => _ = alive.insert(server),
                Some(ServerKey::Document(server)) => {
                    documents.insert(server, (entry.lease(), entry.mod_revision()));
                }
                None => {}
            }
        }
        let mut known = self.known.lock().await;
        let is_known = |server: &String, modified: i64| {
            known
                .get(server)
                .is_some_and(|known| known.modified == modified)
        };
        let modified = documents
            .iter()
            .map(|(server, (_, modified))| (server, *modified));
        let unknown = modified.filter(|(server, modified)| !is_known(server, *modified));
        if let Some(oldest) = unknown.map(|(_, modified)| modified).min() {
            for entry in get(cluster, GetOptions::new().with_min_mod_revision(oldest)).await? {
                if let Some(ServerKey::Document(server)) =
                    entry.key_str().ok().and_then(keys::parse_server)
                {
                    let document = String::from_utf8_lossy(entry.value()).into_owned();
                    let modified = entry.mod_revision();
                    known.insert(server, Known { document, modified });
                }
            }
        }
        known.retain(|server, _| documents.contains_key(server));
        let mut published = Vec::new();
        let mut gone = HashMap::new();
        for (server, Known { document, .. }) in &*known {
            let Some(&(lease, _)) = documents.get(server) else {
                continue;
            };
            let liveness = if alive.contains(server) {
                Liveness::Alive
            } else {
                let last_seen = self.last_seen(cluster, lease).await;
                gone.extend(last_seen.map(|at| (lease, at)));
                Liveness::Gone { last_seen }
            };
            published.push(Published {
                server: server.clone(),
                document: document.clone(),
                liveness,
            });
        }
        *self.last_seen.lock().await = gone;
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

// === impl Written ===

impl Written {
    /// Reports whether it need not be replaced by `document` of `server` now.
    fn is_good_enough(&self, server: &str, document: &str) -> bool {
        let intervals = u32::try_from(self.document.len() / BYTES_PER_INTERVAL);
        let pause = INTERVAL * intervals.unwrap_or(u32::MAX);
        self.server == server && (self.document == document || self.at.elapsed() < pause)
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
                self.written = None;
                grant(cluster, MAX_SILENCE).await?
            }
        };
        self.alive = Some(alive);
        let kept = match self.kept.take() {
            Some((kept, at)) if at.elapsed() < KEEP_INTERVAL => (kept, at),
            Some((kept, _)) if keep(cluster, kept).await.is_ok() => (kept, Instant::now()),
            Some(_) | None => {
                self.written = None;
                (grant(cluster, KEPT).await?, Instant::now())
            }
        };
        self.kept = Some(kept);
        Ok((alive, kept.0))
    }
}

/// Reads the keys of all servers. No lock depends on them, so the state of any member is good enough.
async fn get(cluster: &Cluster, options: GetOptions) -> Result<Vec<KeyValue>, StoreError> {
    let options = options.with_prefix().with_serializable();
    let get = |client: Client| {
        let options = options.clone();
        async move {
            let client = client.kv_client();
            let mut client = client.max_decoding_message_size(MAX_RESPONSE);
            client.get(keys::SERVERS, Some(options)).await
        }
    };
    Ok(cluster.call_aside(get).await?.take_kvs())
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
