//! A fleet of two groups with policies as a state machine.

use stateright::{Model, Property};

use super::super::action::Fate;
use super::super::fleet::{ANSWERS_STAY_TRUE, ONCE, TRUE_ANSWERS, TRUE_REFUSALS};
use super::action::{Action, Variant};
use super::rules::Policies;
use super::server::{Server, Waiting};
use super::state::{Admin, Endpoint, Facts, Group, Node, Reason, State};
use super::value::{NOW, Tick};

/// The size of a fleet, its policies, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    /// The group of each node, and the servers that it asks. A node that asks no server holds a slot from the start.
    pub(super) nodes: &'static [(usize, &'static [usize])],
    pub(super) servers: usize,
    /// The number of slots of each group.
    pub(super) slots: u64,
    pub(super) policies: Policies,
    /// The maximum number of writes in flight for which their writers no longer wait.
    pub(super) late: usize,
    /// The node for which an administrator locks a slot.
    pub(super) admin_locks: Option<usize>,
    /// Whether an administrator unlocks holders.
    pub(super) unlocks: bool,
    pub(super) variant: Variant,
}

pub(super) const SLOTS: &str = "2: a grant never takes holders above slots";
pub(super) const CAPS: &str = "13: a grant never exceeds a cap";
pub(super) const STALLS: &str = "no grant while a holder has held for too long";
pub(super) const SETTLES: &str = "no grant before the settle time has passed since a release";
pub(super) const OWN_GROUP: &str = "12: what no cap refuses depends on its own group only";

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut groups = [Group::default(); 2];
        for (node, (group, servers)) in self.nodes.iter().enumerate() {
            if servers.is_empty() {
                let value = &mut groups[*group].content.value;
                *value = self.policies.keep(value.with(node, NOW));
            }
        }
        vec![State {
            groups,
            late: Vec::new(),
            servers: vec![Server::started(&groups, self.first_seen()); self.servers],
            admin: Admin::default(),
            nodes: vec![Node::default(); self.nodes.len()],
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        for node in 0..self.nodes.len() {
            for endpoint in [Endpoint::PreReboot, Endpoint::SteadyState] {
                actions.extend(self.nodes[node].1.iter().map(|server| Action::Ask {
                    node,
                    endpoint,
                    server: *server,
                }));
            }
            let group = state.groups[self.group_of(node)].content.value;
            if self.unlocks && group.holds(node) {
                actions.push(Action::Unlock { node });
            }
        }
        for server in 0..self.servers {
            for group in 0..2 {
                self.actions_of_task(state, server, group, actions);
            }
            actions.push(Action::Crash { server });
        }
        actions.extend((0..state.late.len()).map(|late| Action::Arrive { late }));
        if self.policies.need_time() {
            actions.push(Action::Tick);
        }
        self.actions_of_admin(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        self.normalize(&mut next);
        // The state has no history: an action that changes nothing leads to no new state.
        (next != *state).then_some(next)
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
            TRUE_REFUSALS,
            ONCE,
            SLOTS,
            CAPS,
            STALLS,
            SETTLES,
            OWN_GROUP
        );
        properties.extend([
            Property::always(ANSWERS_STAY_TRUE, |fleet: &Fleet, state: &State| {
                (0..).zip(&state.nodes).all(|(node, its)| {
                    let value = state.groups[fleet.group_of(node)].content.value;
                    its.last_reply
                        .is_none_or(|reply| reply == value.holds(node))
                })
            }),
            // The search is meaningful only if it reaches these states.
            Property::sometimes("a cap is reached", |fleet: &Fleet, state: &State| {
                !fleet.policies.has_cap() || state.has_reason(Reason::Capped)
            }),
            Property::sometimes("a group is stalled", |fleet: &Fleet, state: &State| {
                fleet.policies.stall.is_none() || state.has_reason(Reason::Stalled)
            }),
            Property::sometimes("a group settles", |fleet: &Fleet, state: &State| {
                fleet.policies.settle.is_none() || state.has_reason(Reason::Settling)
            }),
            Property::sometimes("the last slot is held", |fleet: &Fleet, state: &State| {
                let held = state.groups.map(|group| group.content.value.held());
                held.contains(&fleet.slots)
            }),
        ]);
        properties
    }
}

impl Fleet {
    fn actions_of_task(
        &self,
        state: &State,
        server: usize,
        group: usize,
        actions: &mut Vec<Action>,
    ) {
        let task = &state.servers[server].tasks[group];
        if !task.known.is_current() {
            actions.push(Action::Follow { server, group });
        }
        if !task.waiting.is_empty() {
            // Elsewhere, a lost answer is a late write that arrives at once.
            let answer_lost = (state.late.len() == self.late).then_some(Fate::AnswerLost);
            let fates = [Fate::Answered, Fate::RequestLost, Fate::Late];
            actions.extend(
                fates
                    .into_iter()
                    .chain(answer_lost)
                    .map(|fate| Action::Commit {
                        server,
                        group,
                        fate,
                    }),
            );
        }
    }

    /// The group of a node.
    pub(super) fn group_of(&self, node: usize) -> usize {
        self.nodes[node].0
    }

    /// The time from which a faulty server counts that starts now.
    fn first_seen(&self) -> Option<Tick> {
        (self.variant == Variant::ForgetsGrants).then_some(NOW)
    }

    /// Drops what no action reads, and sorts what is interchangeable.
    fn normalize(&self, state: &mut State) {
        for (server, group) in (0..self.servers).flat_map(|server| [(server, 0), (server, 1)]) {
            let mut nodes = self.nodes.iter();
            let asks = nodes.any(|(of, servers)| *of != group && servers.contains(&server));
            if !asks || !self.policies.has_cap() {
                state.follow(server, group);
            }
        }
        let mut nodes = self.nodes.iter();
        state.sort(nodes.all(|(_, servers)| servers.len() == self.servers));
    }

    fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Ask {
                node,
                endpoint,
                server,
            } => self.ask(state, node, endpoint, server),
            Action::Follow { server, group } => state.follow(server, group),
            Action::Commit {
                server,
                group,
                fate,
            } => self.commit(state, server, group, fate),
            Action::Arrive { late } => {
                let write = state.late.remove(late);
                state.write(&self.policies, write);
                self.add_facts(state);
            }
            Action::Crash { server } => state.crash(server, self.first_seen()),
            Action::Tick => state.tick(&self.policies),
            Action::Unlock { node } => self.unlock(state, node),
            Action::AdminRead { group } => {
                state.admin.known[group] = Some(state.groups[group].content);
            }
            Action::AdminCommit { fate } => self.admin_commit(state, fate),
        }
    }

    /// A node asks a server. It no longer waits for its earlier request, which is not applied any more (invariant 7).
    fn ask(&self, state: &mut State, node: usize, endpoint: Endpoint, server: usize) {
        let group = self.group_of(node);
        state.leave(node);
        for server in &mut state.servers {
            let waiting = &mut server.tasks[group].waiting;
            waiting.retain(|waiting| waiting.node != node);
        }
        state.nodes[node] = Node {
            facts: Some(Facts::default()),
            ..Node::default()
        };
        let waiting = Waiting {
            node,
            endpoint,
            at: NOW,
            in_doubt: None,
        };
        state.servers[server].tasks[group].waiting.push(waiting);
        self.add_facts(state);
    }

    /// Adds the facts that are true now.
    pub(super) fn add_facts(&self, state: &mut State) {
        let tasks = state.servers.iter().flat_map(|server| &server.tasks);
        for waiting in tasks.flat_map(|task| &task.waiting) {
            let group = self.group_of(waiting.node);
            let [own, other] = [group, 1 - group].map(|group| state.groups[group]);
            let Waiting { node, at, .. } = *waiting;
            let now = self.policies.facts(self.slots, own, other, node, at);
            if let Some(facts) = &mut state.nodes[node].facts {
                match waiting.endpoint {
                    Endpoint::PreReboot => {
                        facts.held |= now.held;
                        facts.reasons |= now.reasons;
                    }
                    Endpoint::SteadyState => facts.not_held |= now.not_held,
                }
            }
        }
    }

    /// An administrator unlocks a holder, which is no release by a node.
    fn unlock(&self, state: &mut State, node: usize) {
        let group = self.group_of(node);
        let mut value = state.groups[group].content.value.without(node);
        if self.variant == Variant::CountsUnlocks {
            value.released = Some(NOW);
        }
        state.expect_changes(1 << node);
        state.store(group, value);
        self.add_facts(state);
    }
}
