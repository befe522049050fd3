//! Clients that send random requests and record the replies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::check::{Operation, Reply, Request};
use airlock_test_support::client::Client;

/// The operations of one group in one round.
pub(crate) struct Recorder {
    group: &'static str,
    began: Instant,
    operations: Mutex<Vec<Operation>>,
}

/// Two clients of one server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) patient: Client,
    /// Disconnects after a short time.
    pub(crate) hasty: Client,
}

/// The clients of the servers; `None` for a server that is down.
pub(crate) type Servers = Arc<Mutex<Vec<Option<Server>>>>;

/// Client 0 disconnects early in one of this number of requests. Each unknown outcome enlarges the search, so
/// there are only a few.
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

    /// Executes `run` and records its reply. `None` means that the operation provably did not happen.
    pub(crate) fn record(
        &self,
        client: usize,
        request: Request,
        run: impl FnOnce() -> Option<Reply>,
    ) -> Option<Reply> {
        let invoked = self.began.elapsed();
        let reply = run()?;
        let returned = self.began.elapsed();
        self.operations.lock().unwrap().push(Operation {
            client,
            request,
            reply,
            invoked,
            returned,
        });
        Some(reply)
    }

    /// Sends the request of a node to a server and records it for the client of that number.
    pub(crate) fn ask(&self, client: usize, server: &Client, request: Request) -> Option<Reply> {
        let (endpoint, node) = match request {
            Request::Lock(node) => ("v1/pre-reboot", node),
            Request::Unlock(node) => ("v1/steady-state", node),
            Request::Delete => unreachable!("no server deletes"),
        };
        self.record(client, request, || {
            match server.try_post(endpoint, self.group, &format!("n{node}")) {
                Ok(response) if response.granted() => Some(Reply::Yes),
                Ok(response) if response.kind() == "failed_lock" => Some(Reply::Full),
                Ok(_) => Some(Reply::Unknown),
                Err(error) if error.is_connect() => None,
                Err(_) => Some(Reply::Unknown),
            }
        })
    }

    /// Returns all operations up to now, in the order of their invocation.
    pub(crate) fn history(&self) -> Vec<Operation> {
        let mut history = self.operations.lock().unwrap().clone();
        history.sort_by_key(|operation| operation.invoked);
        history
    }
}

/// Sends requests of random nodes to random servers until `stop` is set.
pub(crate) fn send_random_requests(
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
