//! A client that sends etcd the same transactions as coreos/airlock: create the key if its version is 0, get
//! it, put it if its version is still the one that was read. A conflict is an error there.

use std::collections::BTreeSet;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use serde::{Deserialize, Serialize};

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
        CoreosAirlock {
            client: Client::connect(endpoints, None).await.unwrap(),
            key: format!("com.coreos.airlock/groups/{group}/v1/semaphore"),
            slots,
        }
    }

    /// Adds a holder, as a pre-reboot request does.
    pub async fn lock(&mut self, id: &str) -> Reply {
        let (mut semaphore, version) = self.get().await;
        if semaphore.holders.iter().any(|holder| holder == id) {
            return Reply::Granted;
        }
        if semaphore.holders.len() as u64 >= semaphore.total_slots {
            return Reply::Full;
        }
        let mut holders: BTreeSet<String> = semaphore.holders.into_iter().collect();
        holders.insert(id.to_owned());
        semaphore.holders = holders.into_iter().collect();
        self.set(&semaphore, version).await
    }

    /// Removes a holder, as a steady-state request does. Writes even if nothing changes, as coreos/airlock does.
    pub async fn unlock(&mut self, id: &str) -> Reply {
        let (mut semaphore, version) = self.get().await;
        semaphore.holders.retain(|holder| holder != id);
        self.set(&semaphore, version).await
    }

    async fn get(&mut self) -> (Semaphore, i64) {
        let first = Semaphore {
            total_slots: self.slots,
            holders: Vec::new(),
        };
        let create = Txn::new()
            .when([Compare::version(&*self.key, CompareOp::Equal, 0)])
            .and_then([self.put(&first)]);
        self.client.txn(create).await.unwrap();
        let found = self.client.get(&*self.key, None).await.unwrap();
        let found = found.kvs().first().unwrap();
        (
            serde_json::from_slice(found.value()).unwrap(),
            found.version(),
        )
    }

    async fn set(&mut self, semaphore: &Semaphore, version: i64) -> Reply {
        let write = Txn::new()
            .when([Compare::version(&*self.key, CompareOp::Equal, version)])
            .and_then([self.put(semaphore)]);
        if self.client.txn(write).await.unwrap().succeeded() {
            Reply::Granted
        } else {
            Reply::Conflict
        }
    }

    fn put(&self, semaphore: &Semaphore) -> TxnOp {
        TxnOp::put(&*self.key, serde_json::to_vec(semaphore).unwrap(), None)
    }
}
