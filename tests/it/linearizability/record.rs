//! Clients that ask at random, and what they were told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::check::{Operation, Request, Told};
use airlock_test_support::client::Client;

/// The operations of one group in one round.
pub(crate) struct Recorder {
    group: &'static str,
    began: Instant,
    operations: Mutex<Vec<Operation>>,
}

/// Two ways to ask a server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) patient: Client,
    /// Hangs up soon.
    pub(crate) hasty: Client,
}

/// Where the servers are; one that is down has none.
pub(crate) type Servers = Arc<Mutex<Vec<Option<Server>>>>;

/// Client 0 hangs up soon in one request of so many. What every unknown outcome may lead to has to be
/// searched, so there are only some.
const HASTY: u32 = 10;

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new(group: &'static str) -> Self {
        Recorder {
            group,
            began: Instant::now(),
            operations: Mutex::default(),
        }
    }

    pub(crate) fn group(&self) -> &'static str {
        self.group
    }

    /// Carries out `run` and records what it was told; `None` is known not to have happened.
    pub(crate) fn record(
        &self,
        client: usize,
        request: Request,
        run: impl FnOnce() -> Option<Told>,
    ) -> Option<Told> {
        let invoked = self.began.elapsed();
        let told = run()?;
        let returned = self.began.elapsed();
        self.operations.lock().unwrap().push(Operation {
            client,
            request,
            told,
            invoked,
            returned,
        });
        Some(told)
    }

    /// Sends a node's request to a server, as the client of that number.
    pub(crate) fn ask(&self, client: usize, server: &Client, request: Request) -> Option<Told> {
        let (endpoint, node) = match request {
            Request::Lock(node) => ("v1/pre-reboot", node),
            Request::Unlock(node) => ("v1/steady-state", node),
            Request::Delete => unreachable!("no server deletes"),
        };
        self.record(client, request, || {
            match server.try_post(endpoint, self.group, &format!("n{node}")) {
                Ok(answer) if answer.granted() => Some(Told::Yes),
                Ok(answer) if answer.kind() == "failed_lock" => Some(Told::Full),
                Ok(_) => Some(Told::Nothing),
                Err(error) if error.is_connect() => None,
                Err(_) => Some(Told::Nothing),
            }
        })
    }

    /// Everything so far, in the order of beginning.
    pub(crate) fn history(&self) -> Vec<Operation> {
        let mut history = self.operations.lock().unwrap().clone();
        history.sort_by_key(|operation| operation.invoked);
        history
    }
}

/// Asks any of the servers for any of the `nodes`, until `stop`.
pub(crate) fn ask_at_random(
    recorder: &Recorder,
    client: usize,
    nodes: usize,
    servers: &Servers,
    mut random: fastrand::Rng,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        let server = random.choice(servers.lock().unwrap().clone()).flatten();
        let node = random.usize(..nodes);
        let request = if random.bool() {
            Request::Lock(node)
        } else {
            Request::Unlock(node)
        };
        if let Some(server) = server {
            let hasty = client == 0 && random.u32(..HASTY) == 0;
            let server = if hasty { server.hasty } else { server.patient };
            recorder.ask(client, &server, request);
        }
        thread::sleep(Duration::from_millis(random.u64(..20)));
    }
}
