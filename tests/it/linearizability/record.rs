//! Clients that send random requests and record the replies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::BY_HAND;
use super::check::{Operation, Reply, Request};
use airlock_test_support::client::{Client, Response};

/// A group and its load. There are fewer nodes than clients in a busy group, so that some clients share a node. A quiet
/// group has so few writes that a late one is not overtaken by the next.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) slots: u32,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    /// The maximal pause of a client between two requests, in milliseconds.
    pub(crate) pause: u64,
}

/// The groups: two busy ones, two quiet ones, and three that share a cap.
pub(crate) const GROUPS: [Group; 7] = [
    Group::new("default", 2, 8, 8, 30),
    Group::new("one", 1, 8, 8, 30),
    Group::new("quiet", 1, 2, 1, 250),
    Group::new("still", 1, 3, 2, 250),
    Group::new("zone-a", 2, 4, 3, 30),
    Group::new("zone-b", 2, 4, 3, 30),
    Group::new("zone-c", 1, 2, 2, 30),
];

/// The cap: this number of nodes may hold slots of its groups together, which have five.
pub(crate) const MAX_HELD: usize = 3;

/// The cap: this number of its groups may have holders at the same time.
pub(crate) const MAX_GROUPS: usize = 2;

/// The operations of one group in one round.
pub(crate) struct Recorder {
    group: &'static Group,
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

/// How often a client doubles its pause after an unknown outcome.
const MAX_DOUBLINGS: u32 = 4;

/// Client 0 disconnects early in one of this number of requests. Each unknown outcome enlarges the search, so
/// there are only a few.
const HASTY: u32 = 10;

// === impl Group ===

impl Group {
    pub(crate) const fn new(
        name: &'static str,
        slots: u32,
        nodes: usize,
        clients: usize,
        pause: u64,
    ) -> Self {
        Group {
            name,
            slots,
            nodes,
            clients,
            pause,
        }
    }

    /// Returns the key of the semaphore in etcd.
    pub(crate) fn key(&self) -> String {
        format!("com.coreos.airlock/groups/{}/v1/semaphore", self.name)
    }

    /// Returns the key of what only Airlock stores.
    pub(crate) fn lock_times_key(&self) -> String {
        format!("com.coreos.airlock/groups/{}/v1/lock-times", self.name)
    }

    /// Returns whether the group shares the cap.
    pub(crate) fn is_capped(&self) -> bool {
        self.name.starts_with("zone-")
    }
}

/// Returns the groups that share the cap.
pub(crate) fn capped_groups() -> impl Iterator<Item = &'static Group> {
    GROUPS.iter().filter(|group| group.is_capped())
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new(group: &'static Group) -> Self {
        Recorder {
            group,
            began: Instant::now(),
            operations: Mutex::default(),
        }
    }

    pub(crate) fn group(&self) -> &'static Group {
        self.group
    }

    /// Executes `run` and records its reply. `None` means that the operation provably did not happen.
    pub(crate) fn record(
        &self,
        client: usize,
        request: Request,
        run: impl FnOnce() -> Option<Reply>,
    ) -> Option<Reply> {
        let invoked = Instant::now();
        let reply = run()?;
        self.add(client, request, reply, invoked, Instant::now());
        Some(reply)
    }

    /// Records an operation that has ended.
    pub(crate) fn add(
        &self,
        client: usize,
        request: Request,
        reply: Reply,
        invoked: Instant,
        returned: Instant,
    ) {
        self.operations.lock().unwrap().push(Operation {
            client,
            request,
            reply,
            invoked: invoked - self.began,
            returned: returned - self.began,
        });
    }

    /// Sends the request of a node to a server and records it for the client of that number.
    pub(crate) fn ask(&self, client: usize, server: &Client, request: Request) -> Option<Reply> {
        let (endpoint, node) = match request {
            Request::Lock(node) => ("v1/pre-reboot", node),
            Request::Unlock(node) => ("v1/steady-state", node),
            other => unreachable!("{other:?} is no request of a node"),
        };
        self.record(client, request, || {
            match server.try_post(endpoint, self.group.name, &format!("n{node}")) {
                Ok(response) if response.granted() => Some(Reply::Yes),
                Ok(response) if response.kind() == "failed_lock" => Some(Reply::Full),
                Ok(response) if self.is_refused_by_cap(&response) => Some(Reply::Capped),
                Ok(_) => Some(Reply::Unknown),
                Err(error) if error.is_connect() => None,
                Err(_) => Some(Reply::Unknown),
            }
        })
    }

    /// Returns whether a node was refused a lock because of the other groups.
    fn is_refused_by_cap(&self, response: &Response) -> bool {
        let is_it = response.status == 423 && response.kind() == "cap_reached";
        assert!(!is_it || self.group.is_capped(), "{response:?}");
        is_it
    }

    /// Returns all operations up to now, in the order of their invocation.
    pub(crate) fn history(&self) -> Vec<Operation> {
        let mut history = self.operations.lock().unwrap().clone();
        history.sort_by_key(|operation| operation.invoked);
        history
    }
}

/// Returns the numbers of operations with a known and with an unknown outcome. Those of the test itself do not count: it
/// repeats them until they have the outcome that it waits for.
pub(crate) fn count(history: &[Operation]) -> (usize, usize) {
    let (unknown, known): (Vec<&Operation>, Vec<&Operation>) = history
        .iter()
        .filter(|operation| operation.client != BY_HAND)
        .partition(|operation| operation.reply == Reply::Unknown);
    (known.len(), unknown.len())
}

/// Sends requests of random nodes to random servers until `stop` is set.
pub(crate) fn send_random_requests(
    recorder: &Recorder,
    client: usize,
    servers: &Servers,
    mut random: fastrand::Rng,
    stop: &AtomicBool,
) {
    let group = recorder.group;
    let mut unknown = 0;
    while !stop.load(Ordering::Relaxed) {
        let server = random.choice(servers.lock().unwrap().clone()).flatten();
        let node = random.usize(..group.nodes);
        let request = if random.bool() {
            Request::Lock(node)
        } else {
            Request::Unlock(node)
        };
        let mut pause = random.u64(..group.pause);
        if let Some(server) = server {
            let hasty = client == 0 && random.u32(..HASTY) == 0;
            let server = if hasty { server.hasty } else { server.patient };
            if recorder.ask(client, &server, request) == Some(Reply::Unknown) {
                // Each unknown outcome enlarges the search.
                pause += 100 << unknown.min(MAX_DOUBLINGS);
                unknown += 1;
            }
        }
        thread::sleep(Duration::from_millis(pause));
    }
}
