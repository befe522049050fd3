//! The bare etcd transaction through the client that the server uses: what everything is compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use tokio::task::JoinSet;

/// Microseconds, and transactions a second.
#[derive(Clone, Copy, Default)]
pub struct Bare {
    pub p50: u32,
    pub p99: u32,
    pub per_second: f64,
}

// === impl Bare ===

impl Bare {
    pub fn mean(self, other: Bare) -> Bare {
        Bare {
            p50: self.p50.midpoint(other.p50),
            p99: self.p99.midpoint(other.p99),
            per_second: self.per_second.midpoint(other.per_second),
        }
    }
}

/// The shapes of the server's two transactions.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Compares and reads.
    Confirm,
    /// Compares and writes two keys.
    Write,
}

/// `clients` tasks on one client, each with keys of its own, so that no comparison is lost.
pub async fn measure(endpoint: &str, shape: Shape, clients: usize, duration: Duration) -> Bare {
    let client = Client::connect([endpoint], None).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0..clients {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut kv = client.kv_client();
            let key = format!("bench/{number}");
            let put = kv.put(key.clone(), VALUE, None).await.unwrap();
            let mut revision = put.header().unwrap().revision();
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let transaction = transaction(shape, &key, revision);
                let answer = kv.txn(transaction).await.unwrap();
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
                assert!(answer.succeeded());
                if let Shape::Write = shape {
                    revision = answer.header().unwrap().revision();
                }
            }
            latencies
        });
    }
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<u32> = tasks.join_all().await.into_iter().flatten().collect();
    let per_second = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Bare {
        p50: latencies[latencies.len() / 2],
        p99: latencies[latencies.len() * 99 / 100],
        per_second,
    }
}

const VALUE: &str = r#"{"total_slots":2,"holders":["2204af7f41984cb19b8cde4edc06c142"]}"#;

fn transaction(shape: Shape, key: &str, revision: i64) -> Txn {
    let times = format!("{key}/lock-times");
    let puts = match shape {
        Shape::Confirm => Vec::new(),
        Shape::Write => vec![
            TxnOp::put(key, VALUE, None),
            TxnOp::put(times.clone(), VALUE, None),
        ],
    };
    Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
        .and_then(puts)
        .or_else(vec![TxnOp::get(key, None), TxnOp::get(times, None)])
}
