//! A client that sends etcd the same transactions as coreos/airlock: create the key if its version is 0, get
//! it, put it if its version is still the one that was read. A conflict is an error there.

use std::collections::BTreeSet;

use etcd_client::{Client, Compare, CompareOp, Error, Txn, TxnOp};
use serde::{Deserialize, Serialize};

use crate::etcd::connect_as;

/// One group, as coreos/airlock accesses it.
pub struct CoreosAirlock {
    client: Client,
    key: String,
    slots: u64,
}

#[derive(Serialize, Deserialize)]
struct Semaphore {
    total_slots: u64,
    holders: Vec<String>,
}

/// The response of coreos/airlock to a node.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The request succeeded.
    Granted,
    /// All slots are taken.
    Full,
    /// Another server changed the value between the read and the write.
    Conflict,
}

impl CoreosAirlock {
    /// Connects to etcd.
    pub async fn new(endpoints: &[String], group: &str, slots: u64) -> Self {
        let client = Client::connect(endpoints, None).await.unwrap();
        CoreosAirlock::over(client, group, slots)
    }

    /// Connects to etcd, which may be unreachable, as a user with a password, unless authentication is disabled.
    pub async fn try_new(
        endpoints: &[String],
        user: (&str, &str),
        group: &str,
        slots: u64,
    ) -> Result<Self, Error> {
        let client = connect_as(endpoints, user).await?;
        Ok(CoreosAirlock::over(client, group, slots))
    }

    fn over(client: Client, group: &str, slots: u64) -> Self {
        CoreosAirlock {
            client,
            key: format!("com.coreos.airlock/groups/{group}/v1/semaphore"),
            slots,
        }
    }

    /// Adds a holder, as a pre-reboot request does.
    pub async fn lock(&mut self, id: &str) -> Reply {
        self.try_lock(id).await.unwrap()
    }

    /// Removes a holder, as a steady-state request does.
    pub async fn unlock(&mut self, id: &str) -> Reply {
        self.try_unlock(id).await.unwrap()
    }

    /// Adds a holder. After an error, the outcome is unknown.
    pub async fn try_lock(&mut self, id: &str) -> Result<Reply, Error> {
        let (mut semaphore, version) = self.get().await?;
        if semaphore.holders.iter().any(|holder| holder == id) {
            return Ok(Reply::Granted);
        }
        if semaphore.holders.len() as u64 >= semaphore.total_slots {
            return Ok(Reply::Full);
        }
        let mut holders: BTreeSet<String> = semaphore.holders.into_iter().collect();
        holders.insert(id.to_owned());
        semaphore.holders = holders.into_iter().collect();
        self.set(&semaphore, version).await
    }

    /// Removes a holder. Writes even if nothing changes, as coreos/airlock does. After an error, the outcome is unknown.
    pub async fn try_unlock(&mut self, id: &str) -> Result<Reply, Error> {
        let (mut semaphore, version) = self.get().await?;
        semaphore.holders.retain(|holder| holder != id);
        self.set(&semaphore, version).await
    }

    async fn get(&mut self) -> Result<(Semaphore, i64), Error> {
        let first = Semaphore {
            total_slots: self.slots,
            holders: Vec::new(),
        };
        let create = Txn::new()
            .when([Compare::version(&*self.key, CompareOp::Equal, 0)])
            .and_then([self.put(&first)]);
        self.client.txn(create).await?;
        let found = self.client.get(&*self.key, None).await?;
        // The key may have been deleted since.
        let Some(found) = found.kvs().first() else {
            return Ok((first, 0));
        };
        let semaphore = serde_json::from_slice(found.value()).unwrap();
        Ok((semaphore, found.version()))
    }

    async fn set(&mut self, semaphore: &Semaphore, version: i64) -> Result<Reply, Error> {
        let write = Txn::new()
            .when([Compare::version(&*self.key, CompareOp::Equal, version)])
            .and_then([self.put(semaphore)]);
        let is_written = self.client.txn(write).await?.succeeded();
        Ok(if is_written {
            Reply::Granted
        } else {
            Reply::Conflict
        })
    }

    fn put(&self, semaphore: &Semaphore) -> TxnOp {
        TxnOp::put(&*self.key, serde_json::to_vec(semaphore).unwrap(), None)
    }
}
