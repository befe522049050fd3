//! A client that does to etcd what Airlock (Go) does: create if the version is 0, get, put if the version
//! is the one that was read. A lost comparison is its error.

use std::collections::BTreeSet;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use serde::{Deserialize, Serialize};

/// One group, as an Airlock sees it.
pub struct AirlockGo {
    client: Client,
    key: String,
    slots: u64,
}

#[derive(Serialize, Deserialize)]
struct Semaphore {
    total_slots: u64,
    holders: Vec<String>,
}

/// What an Airlock tells its node.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Granted,
    Full,
    Conflict,
}

impl AirlockGo {
    pub async fn new(endpoints: &[String], group: &str, slots: u64) -> Self {
        AirlockGo {
            client: Client::connect(endpoints, None).await.unwrap(),
            key: format!("com.coreos.airlock/groups/{group}/v1/semaphore"),
            slots,
        }
    }

    pub async fn lock(&mut self, id: &str) -> Told {
        let (mut semaphore, version) = self.get().await;
        if semaphore.holders.iter().any(|holder| holder == id) {
            return Told::Granted;
        }
        if semaphore.holders.len() as u64 >= semaphore.total_slots {
            return Told::Full;
        }
        let mut holders: BTreeSet<String> = semaphore.holders.into_iter().collect();
        holders.insert(id.to_owned());
        semaphore.holders = holders.into_iter().collect();
        self.set(&semaphore, version).await
    }

    /// Writes also where nothing changes, as Airlock does.
    pub async fn unlock(&mut self, id: &str) -> Told {
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

    async fn set(&mut self, semaphore: &Semaphore, version: i64) -> Told {
        let write = Txn::new()
            .when([Compare::version(&*self.key, CompareOp::Equal, version)])
            .and_then([self.put(semaphore)]);
        if self.client.txn(write).await.unwrap().succeeded() {
            Told::Granted
        } else {
            Told::Conflict
        }
    }

    fn put(&self, semaphore: &Semaphore) -> TxnOp {
        TxnOp::put(&*self.key, serde_json::to_vec(semaphore).unwrap(), None)
    }
}
