//! The servers of a run. Each is the real group tasks and the real follower on its own connection to the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use super::history::{History, Kind, Reply, Request};
use super::link::Link;
use super::plan::Plan;
use super::trace::{Moment, Violation};
use super::world::World;
use crate::config::GroupSettings;
use crate::coordinator::{ConfiguredGroup, ServerState, StateReceiver};
use crate::group::{Group, GroupError, GroupMetrics};
use crate::lock::GroupName;
use crate::lock::holders::Client;
use crate::lock::policy::Terms;
use crate::lock::semaphore::Command;
use crate::server::groups::set_policies;
use crate::server::monitor;
use crate::store::instrumented::{InstrumentedStore, StoreMetrics};

/// The time within which a server answers a request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// All servers of a run.
pub(super) struct Fleet {
    pub(super) world: Arc<World>,
    pub(super) plan: Plan,
    pub(super) groups: Vec<GroupName>,
    pub(super) history: History,
    servers: Vec<Mutex<Option<Server>>>,
    violation: Mutex<Option<Violation>>,
}

/// One run of a server, until it crashes.
struct Server {
    run: u64,
    groups: BTreeMap<GroupName, ConfiguredGroup>,
    state: watch::Sender<Arc<ServerState>>,
    tasks: Vec<JoinHandle<()>>,
}

// === impl Fleet ===

impl Fleet {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        let groups = plan.group_names();
        let servers = (0..plan.servers).map(|_| Mutex::default());
        Arc::new(Fleet {
            world: World::new(&groups),
            servers: servers.collect(),
            plan,
            groups,
            history: History::default(),
            violation: Mutex::default(),
        })
    }

    pub(super) fn record(&self, event: &str) -> Moment {
        self.world.trace.record(event)
    }

    /// Starts a server, unless it runs.
    pub(super) fn start(&self, server: usize) {
        let mut slot = self.servers[server].lock();
        if slot.is_none() {
            let run = self.world.number();
            self.record(&format!("server {server} starts, run {run}"));
            let link = Link::new(&self.world, &self.plan, &format!("server {server}"));
            *slot = Some(Server::start(run, link, &self.plan));
        }
    }

    /// Ends a server without notice.
    pub(super) fn crash(&self, server: usize) {
        if let Some(crashed) = self.servers[server].lock().take() {
            self.record(&format!("server {server} crashes"));
            for task in crashed.tasks {
                task.abort();
            }
        }
    }

    /// Changes the configured slots of a server, as a reload does.
    pub(super) fn reload(&self, server: usize, slots: u64) {
        if let Some(server) = &*self.servers[server].lock() {
            self.record(&format!("a reload configures {slots} slots"));
            for found in server.groups.values() {
                found.group.set_configured_slots(slots);
            }
            set_policies(&server.groups, &self.plan.policies.caps);
            let state = ServerState::of(server.groups.clone());
            server.state.send_replace(Arc::new(state));
        }
    }

    /// Sends a request to a server, and waits for the reply, but no longer than `patience`.
    pub(super) async fn ask(
        &self,
        server: usize,
        group: &GroupName,
        node: &str,
        kind: Kind,
        patience: Duration,
    ) -> Reply {
        let Some((run, handle)) = self.handle(server, group) else {
            return Reply::Refused;
        };
        let number = self.world.number();
        let sent = self.record(&format!(
            "{number}: {kind:?} {node} in {group} at server {server}"
        ));
        let started = Instant::now();
        let answer = handle.execute(command(kind, node, number), REQUEST_TIMEOUT);
        let answer = time::timeout(patience, answer).await;
        let reply = match &answer {
            Ok(Ok(answer)) => Reply::Outcome(answer.clone()),
            Ok(Err(GroupError::Rejected(_) | GroupError::Damaged(_) | GroupError::QueueFull)) => {
                Reply::Refused
            }
            Ok(Err(
                GroupError::Timeout { .. } | GroupError::Ambiguous | GroupError::ShuttingDown,
            ))
            | Err(_) => Reply::Unknown,
        };
        let answered = self.record(&format!("{number}: {answer:?}"));
        if started.elapsed() > REQUEST_TIMEOUT + Duration::from_millis(2) {
            self.violated(
                answered,
                format!("request {number} was answered after its deadline"),
            );
        }
        self.history.requests.lock().push(Request {
            number,
            group: group.clone(),
            server: Some(run),
            node: node.into(),
            kind,
            sent,
            answered,
            reply: reply.clone(),
        });
        reply
    }

    fn handle(&self, server: usize, group: &GroupName) -> Option<(u64, Group)> {
        let server = self.servers[server].lock();
        let server = server.as_ref()?;
        Some((server.run, server.groups[group].group.clone()))
    }

    /// Checks that every task runs, and that every server knows the value of each group.
    pub(super) fn check_known_states(&self) {
        let now = self.record("the known states are checked");
        for (index, slot) in self.servers.iter().enumerate() {
            let slot = slot.lock();
            let Some(server) = &*slot else { continue };
            if server.tasks.iter().any(JoinHandle::is_finished) {
                self.violated(now, format!("a task of server {index} has ended"));
            }
            for (name, found) in &server.groups {
                let stored = self.world.stored(name);
                let known = found.group.known();
                if !known
                    .as_ref()
                    .is_some_and(|known| known.stored.is_still(&stored))
                {
                    self.violated(now, format!(
                        "server {index} does not know the value of {name}: {stored:?} is not {known:?}"
                    ));
                }
            }
        }
    }

    pub(super) fn violated(&self, at: Moment, problem: String) {
        let violation = Violation { at, problem };
        self.violation.lock().get_or_insert(violation);
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.world
            .violation()
            .or_else(|| self.violation.lock().clone())
    }
}

// === impl Server ===

impl Server {
    fn start(run: u64, link: Arc<Link>, plan: &Plan) -> Self {
        let registry = prometheus::Registry::new();
        let metrics = StoreMetrics::register(&registry).expect("metrics of the store");
        let group_metrics = GroupMetrics::register(&registry).expect("metrics of the groups");
        let store = Arc::new(InstrumentedStore::new(link, metrics));
        let mut tasks = Vec::new();
        let mut groups = BTreeMap::new();
        for name in plan.group_names() {
            let metrics = group_metrics.of(&name);
            let (group, task) = Group::new(name.clone(), 2, 100, Arc::clone(&store) as _, metrics);
            tasks.push(tokio::spawn(task.run()));
            let settings = GroupSettings {
                slots: 2,
                settle: plan.policies.settle,
                stall_after: plan.policies.stall_after,
                ..GroupSettings::default()
            };
            let configured = ConfiguredGroup {
                group,
                settings,
                gates: Arc::default(),
            };
            groups.insert(name, configured);
        }
        set_policies(&groups, &plan.policies.caps);
        let (state, receiver) = watch::channel(Arc::new(ServerState::of(groups.clone())));
        let receiver = StateReceiver::new(receiver);
        tasks.push(tokio::spawn(async move {
            monitor::follow(&store, receiver).await;
        }));
        Server {
            run,
            groups,
            state,
            tasks,
        }
    }
}

/// Returns the command of a request. Its number is the time of the grant.
fn command(kind: Kind, node: &str, number: u64) -> Command {
    match kind {
        Kind::Lock => Command::Lock {
            id: node.parse().expect("a valid id"),
            at: time_of(number),
            client: Client::default(),
            terms: Terms::default(),
        },
        Kind::Renew => Command::Renew { id: node.into() },
        Kind::Unlock => Command::Unlock {
            id: node.into(),
            at: time_of(number),
            peer: None,
        },
    }
}

/// Returns the time that identifies a request or a command.
pub(super) fn time_of(number: u64) -> Timestamp {
    let seconds = i64::try_from(number).expect("a small number");
    Timestamp::from_second(seconds).expect("a valid time")
}
