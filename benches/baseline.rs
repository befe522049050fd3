//! The baseline: the etcd transactions of the server, sent by the same etcd client without a server between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use tokio::task::JoinSet;

use crate::load::Latencies;

/// The result of a baseline measurement.
#[derive(Clone, Copy, Default)]
pub(crate) struct Baseline {
    /// Microseconds.
    pub(crate) p50: u32,
    /// Microseconds.
    pub(crate) p99: u32,
    pub(crate) per_second: f64,
}

// === impl Baseline ===

impl Baseline {
    /// Returns the mean of two measurements.
    pub(crate) fn mean(self, other: Baseline) -> Baseline {
        Baseline {
            p50: self.p50.midpoint(other.p50),
            p99: self.p99.midpoint(other.p99),
            per_second: self.per_second.midpoint(other.per_second),
        }
    }
}

/// The shapes of the server's two transactions.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Compares and reads.
    Confirm,
    /// Compares and writes two keys.
    Write,
}

/// Measures `clients` tasks that share one etcd client. Each task has its own keys, so there are no conflicts.
pub(crate) async fn measure(
    endpoint: &str,
    shape: Shape,
    clients: usize,
    duration: Duration,
) -> Baseline {
    let client = Client::connect([endpoint], None).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let latencies = Arc::new(Mutex::new(Latencies::default()));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0..clients {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        let latencies = Arc::clone(&latencies);
        tasks.spawn(async move {
            let mut kv = client.kv_client();
            let key = format!("bench/{number}");
            let put = kv.put(key.clone(), VALUE, None).await.unwrap();
            let mut revision = put.header().unwrap().revision();
            while !stop.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let transaction = transaction(shape, &key, revision);
                let response = kv.txn(transaction).await.unwrap();
                latencies.lock().unwrap().record(sent.elapsed());
                assert!(response.succeeded());
                if let Shape::Write = shape {
                    revision = response.header().unwrap().revision();
                }
            }
        });
    }
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let elapsed = began.elapsed();
    let latencies = latencies.lock().unwrap();
    Baseline {
        p50: latencies.percentile(50),
        p99: latencies.percentile(99),
        per_second: latencies.count() as f64 / elapsed.as_secs_f64(),
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
