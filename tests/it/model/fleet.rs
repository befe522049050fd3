//! A fleet as a state machine: the actions of nodes, servers, the store, the network and the operators.

use airlock::lock::codec::Revision;
use stateright::{Model, Property};

use super::action::{Action, Fate, Variant};
use super::admin::{Admin, Phase, Task};
use super::server::{Server, Waiting};
use super::state::{Endpoint, Facts, Node, Reply, State, Write, Writer};
use super::value::{Content, Value};

/// The size of a fleet, its protocol, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    pub(crate) nodes: usize,
    pub(crate) servers: usize,
    pub(crate) slots: u64,
    /// The maximum number of writes in flight for which their writers no longer wait.
    pub(crate) late: usize,
    /// Whether an administrator unlocks holders, pauses and resumes the group, each without a fault.
    pub(crate) pause: bool,
    /// Whether a coreos/airlock server uses the store.
    pub(crate) coreos_airlock: bool,
    /// Whether a policy refuses new grants from time to time.
    pub(crate) renewals: bool,
    /// Whether the store rejects calls, or has no space.
    pub(crate) refusals: bool,
    /// Whether an administrator executes this command, with faults.
    pub(crate) task: Option<Task>,
    pub(crate) intervention: Option<Intervention>,
    pub(crate) variant: Variant,
}

/// What an operator does once, beside running servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intervention {
    /// Deletes the value.
    Delete,
    /// Restores a backup that was made before. The search ends at this number of revisions.
    Restore { revisions: i64 },
}

pub(crate) const TRUE_ANSWERS: &str =
    "1, 3, 4: a response was true at some moment since the request";
pub(crate) const NEVER_ABOVE_SLOTS: &str = "2: a grant never takes holders above slots";
pub(crate) const ALWAYS_ANSWERED: &str = "5: a server without faults answers all waiting nodes";
pub(crate) const ANSWERS_STAY_TRUE: &str =
    "6: a response stays true until the node sends another request or an operator acts";
pub(crate) const ONCE: &str = "6: a request or a command takes effect at most once";
pub(crate) const TRUE_REFUSALS: &str = "3: a refused request never takes effect";
pub(crate) const NO_NEEDLESS_WRITE: &str = "9: a release by a non-holder writes nothing";
pub(crate) const TRUE_FAILURES: &str = "6: an administrator's command that failed never applies";

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            content: Content::ABSENT,
            latest: Revision(0),
            backup: None,
            interventions: usize::from(self.intervention.is_some()),
            late: Vec::new(),
            servers: vec![Server::default(); self.servers],
            admin: Admin::default(),
            nodes: vec![Node::default(); self.nodes],
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for node in 0..self.nodes {
            self.actions_of_node(state, node, actions);
        }
        for (server, its) in state.servers.iter().enumerate() {
            if !its.waiting.is_empty() {
                if its.can_commit() {
                    let fates = self.fates();
                    actions.extend(fates.map(|fate| Action::Commit { server, fate }));
                } else {
                    actions.push(Action::Read { server });
                    actions.extend(self.refusals.then_some(Action::ReadRejected { server }));
                }
            }
            actions.push(Action::Follow { server });
            actions.push(Action::Crash { server });
        }
        actions.extend((0..state.late.len()).map(|late| Action::Arrive { late }));
        self.actions_of_operators(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        let renamed = !matches!(self.intervention, Some(Intervention::Restore { .. }));
        if renamed {
            next.rename_revisions();
        }
        next.normalize(renamed);
        next.sort_servers();
        // The state has no history: an action that changes nothing leads to no new state.
        (next != *state).then_some(next)
    }

    fn within_boundary(&self, state: &State) -> bool {
        match self.intervention {
            Some(Intervention::Restore { revisions }) => state.latest.0 <= revisions,
            _ => true,
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! never_broken {
            ($($property:ident),*) => {
                vec![$(Property::always($property, |_, state: &State| {
                    state.broken != Some($property)
                })),*]
            };
        }
        let mut properties = never_broken!(
            TRUE_ANSWERS,
            NEVER_ABOVE_SLOTS,
            NO_NEEDLESS_WRITE,
            ONCE,
            TRUE_REFUSALS
        );
        properties.extend([
            Property::always(ANSWERS_STAY_TRUE, |_, state: &State| {
                (0..).zip(&state.nodes).all(|(node, its)| {
                    its.last_reply
                        .is_none_or(|reply| (reply == Reply::Held) == state.content.holds(node))
                })
            }),
            Property::always(ALWAYS_ANSWERED, |fleet: &Fleet, state: &State| {
                (0..fleet.servers).all(|server| fleet.answers_all_if_left_alone(state, server))
            }),
            Property::always(TRUE_FAILURES, |_, state: &State| {
                state.admin.phase != Phase::Failed || !state.admin.applied
            }),
            // The search is meaningful only if it reaches these states.
            Property::sometimes("all slots are held", |fleet: &Fleet, state: &State| {
                let holders = state.content.value.map_or(0, |value| value.holders);
                u64::from(holders.count_ones()) == fleet.slots
            }),
            Property::sometimes(
                "a node is answered beside a late write",
                |fleet: &Fleet, state: &State| {
                    let of_server = |late: &Write| matches!(late.of, Writer::Server(_));
                    let answered = state.nodes.iter().any(|node| node.last_reply.is_some());
                    fleet.late == 0 || (answered && state.late.iter().any(of_server))
                },
            ),
        ]);
        properties
    }
}

impl Fleet {
    /// Whether the store compares the bytes as well as the revision.
    pub(crate) fn compares_bytes(&self) -> bool {
        self.variant != Variant::ComparesRevisionsOnly
    }

    fn fates(&self) -> impl Iterator<Item = Fate> + use<> {
        use Fate::{AnswerLost, Answered, Late, NoSpace, Rejected, RequestLost};
        let refusals = [
            Rejected,
            NoSpace { applied: true },
            NoSpace { applied: false },
        ];
        let refusals = self.refusals.then_some(refusals);
        let others = [Answered, AnswerLost, RequestLost, Late];
        others.into_iter().chain(refusals.into_iter().flatten())
    }

    fn actions_of_node(&self, state: &State, node: usize, actions: &mut Vec<Action>) {
        if self.pause && state.content.holds(node) {
            actions.push(Action::Release { node });
        }
        if state.nodes[node].facts.is_some() {
            actions.push(Action::HangUp { node });
            return;
        }
        let renew = self.renewals.then_some(Endpoint::Renew);
        let endpoints = [Endpoint::PreReboot, Endpoint::SteadyState];
        for endpoint in endpoints.into_iter().chain(renew) {
            if self.coreos_airlock && endpoint != Endpoint::Renew {
                actions.push(Action::CoreosAirlock { node, endpoint });
            }
            actions.extend((0..self.servers).map(|server| Action::Ask {
                node,
                endpoint,
                server,
            }));
        }
    }

    fn actions_of_operators(&self, state: &State, actions: &mut Vec<Action>) {
        if self.pause
            && let Some(value) = state.content.value
        {
            actions.push(match value.slots {
                0 => Action::Resume,
                _ => Action::Pause,
            });
        }
        if self.task.is_some() {
            match state.admin.phase {
                Phase::Idle => {
                    actions.push(Action::AdminRead);
                    if state.content.value.is_some_and(|value| !value.earlier) {
                        actions.push(Action::EarlierCommand);
                    }
                }
                Phase::Running => {
                    actions.push(Action::AdminGivesUp);
                    if state.admin.can_commit() {
                        actions.extend(self.fates().map(|fate| Action::AdminCommit { fate }));
                    } else {
                        actions.push(Action::AdminRead);
                    }
                }
                Phase::Succeeded | Phase::Failed | Phase::Unknown => {}
            }
        }
        if state.interventions > 0 {
            match (self.intervention, state.backup) {
                (Some(Intervention::Delete), _) => actions.push(Action::Delete),
                (Some(Intervention::Restore { .. }), None) => actions.push(Action::BackUp),
                (Some(Intervention::Restore { .. }), Some(_)) => actions.push(Action::Restore),
                (None, _) => {}
            }
        }
    }

    fn step(&self, state: &mut State, action: Action) {
        let content = state.content;
        match action {
            Action::Ask {
                node,
                endpoint,
                server,
            } => {
                state.nodes[node] = Node {
                    facts: Some(Facts::default().and(content, node)),
                    ..Node::default()
                };
                state.servers[server]
                    .waiting
                    .push(Waiting::new(node, endpoint));
            }
            Action::HangUp { node } => {
                state.leave(node);
                // Invariant 7: the request is no longer applied.
                for server in &mut state.servers {
                    server.waiting.retain(|waiting| waiting.node != node);
                }
            }
            Action::Read { server } => {
                state.servers[server].known = Some(content);
                state.servers[server].protocol.has_read();
            }
            Action::ReadRejected { server } => self.read_rejected(state, server),
            Action::Follow { server } => state.servers[server].known = Some(content),
            Action::Commit { server, fate } => self.commit(state, server, fate),
            Action::Arrive { late } => state.arrive(late, self.compares_bytes()),
            Action::Crash { server } => state.crash(server),
            Action::CoreosAirlock { node, endpoint } => {
                state.coreos_airlock(node, endpoint, self.slots);
            }
            _ => self.operate(state, action),
        }
    }

    /// Performs an action of an operator.
    fn operate(&self, state: &mut State, action: Action) {
        let content = state.content;
        let value = content.or_empty(self.slots);
        match action {
            Action::Release { node } => {
                state.nodes[node].last_reply = None;
                state.write(value.without(node));
            }
            Action::Pause => state.write(Value { slots: 0, ..value }),
            Action::Resume => state.write(Value {
                slots: self.slots,
                ..value
            }),
            Action::EarlierCommand => state.write(Value {
                earlier: true,
                ..value
            }),
            Action::AdminRead => {
                state.admin.phase = Phase::Running;
                state.admin.known = Some(content);
                state.admin.protocol.has_read();
            }
            Action::AdminCommit { fate } => {
                if let Some(task) = self.task {
                    self.admin_commit(state, task, fate);
                }
            }
            Action::AdminGivesUp => self.admin_fails(&mut state.admin),
            Action::Delete => {
                state.interventions -= 1;
                state.delete();
            }
            Action::BackUp => state.backup = Some(content),
            Action::Restore => {
                if let Some(backup) = state.backup.take() {
                    state.interventions -= 1;
                    if self.variant != Variant::WritesOutliveTheStore {
                        state.late.clear();
                    }
                    state.restore(backup);
                }
            }
            _ => {}
        }
    }

    /// Returns whether the server answers all its requests if there is no fault and no other action.
    fn answers_all_if_left_alone(&self, state: &State, server: usize) -> bool {
        if state.servers[server].waiting.is_empty() {
            return true;
        }
        let mut state = state.clone();
        // A read, a conflict, the creation of the value, and one commit for each node.
        for _ in 0..3 + self.nodes {
            if state.servers[server].waiting.is_empty() {
                return true;
            }
            let step = if state.servers[server].can_commit() {
                let fate = Fate::Answered;
                Action::Commit { server, fate }
            } else {
                Action::Read { server }
            };
            self.step(&mut state, step);
        }
        state.servers[server].waiting.is_empty()
    }
}
