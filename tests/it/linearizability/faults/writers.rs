//! Writers beside the servers: an administrator and coreos/airlock, each in a thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Active, Fault, Stage};
use crate::linearizability::COREOS_AIRLOCK;
use crate::linearizability::check::{MAX_SLOTS, Reply, Request};
use crate::linearizability::cluster::admin;
use crate::linearizability::record::Recorder;
use airlock_test_support::coreos_airlock::{self, CoreosAirlock};
use airlock_test_support::etcd::USER;

/// A thread that writes until it is stopped. It returns the number of its operations with a known outcome.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

/// The time after which the outcome of a request of coreos/airlock is unknown.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn begin(active: &mut Active, stage: &mut Stage<'_>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (recorders, mut random) = (Arc::clone(stage.recorders), stage.random.fork());
    let (config, stopped) = (stage.cluster.admin_config(), Arc::clone(&stop));
    let endpoints = stage.cluster.etcd.endpoints();
    let thread = if active.fault == Fault::AdministratorAtWork {
        thread::spawn(move || administrate(&config, &recorders, &mut random, &stopped))
    } else {
        thread::spawn(move || {
            let work = coreos_airlock(&endpoints, &recorders, &mut random, &stopped);
            Runtime::new().unwrap().block_on(work)
        })
    };
    active.writer = Some(Writer { stop, thread });
}

pub(super) fn end(active: &mut Active) {
    if let Some(writer) = active.writer.take() {
        writer.stop.store(true, Ordering::Relaxed);
        active.effect += writer.thread.join().unwrap();
    }
}

/// Executes random commands of an administrator.
fn administrate(
    config: &Path,
    recorders: &[Recorder],
    random: &mut fastrand::Rng,
    stop: &AtomicBool,
) -> u64 {
    let mut known = 0;
    while !stop.load(Ordering::Relaxed) {
        let recorder = &recorders[random.usize(..recorders.len())];
        let node = random.usize(..recorder.group().nodes);
        let request = match random.u32(..6) {
            0 => Request::Lock(node),
            1 | 2 => Request::Unlock(node),
            3 => Request::SetSlots(random.u32(1..=MAX_SLOTS)),
            4 => Request::Pause,
            _ => Request::Resume,
        };
        let reply = admin(config, recorder, request);
        known += u64::from(reply.is_some_and(|reply| reply != Reply::Unknown));
    }
    known
}

/// Sends random requests as coreos/airlock does.
async fn coreos_airlock(
    endpoints: &[String],
    recorders: &[Recorder],
    random: &mut fastrand::Rng,
    stop: &AtomicBool,
) -> u64 {
    let mut known = 0;
    while !stop.load(Ordering::Relaxed) {
        let recorder = &recorders[random.usize(..recorders.len())];
        let group = recorder.group();
        let connect = CoreosAirlock::try_new(endpoints, USER, group.name, group.slots.into());
        let Ok(Ok(mut server)) = timeout(TIMEOUT, connect).await else {
            continue;
        };
        let node = random.usize(..group.nodes);
        let (id, is_lock) = (format!("n{node}"), random.bool());
        let invoked = Instant::now();
        let reply = timeout(TIMEOUT, async {
            if is_lock {
                server.try_lock(&id).await
            } else {
                server.try_unlock(&id).await
            }
        });
        let reply = match reply.await {
            Ok(Ok(coreos_airlock::Reply::Granted)) => Reply::Yes,
            Ok(Ok(coreos_airlock::Reply::Full)) => Reply::Full,
            // It had no effect.
            Ok(Ok(coreos_airlock::Reply::Conflict)) => continue,
            Ok(Err(_)) | Err(_) => Reply::Unknown,
        };
        let request = if is_lock {
            Request::Lock(node)
        } else {
            Request::Unlock(node)
        };
        recorder.add(COREOS_AIRLOCK, request, reply, invoked, Instant::now());
        known += u64::from(reply != Reply::Unknown);
        tokio::time::sleep(Duration::from_millis(random.u64(..100))).await;
    }
    known
}
