//! A fleet as a state machine: the actions of nodes, servers, the store and the network.

use airlock::lock::codec::Revision;
use airlock::lock::protocol::Attempt;
use airlock::lock::semaphore::Command;
use jiff::Timestamp;
use stateright::{Model, Property};

use super::state::{Endpoint, Facts, Late, Node, Reply, Server, State, Value, name, semaphore};

/// The size of a fleet and its protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    pub(crate) nodes: usize,
    pub(crate) servers: usize,
    pub(crate) slots: u64,
    /// The maximal number of writes in flight for which their servers no longer wait.
    pub(crate) late: usize,
    /// Whether an administrator pauses and resumes the group.
    pub(crate) pause: bool,
    pub(crate) variant: Variant,
}

/// The real protocol, or a faulty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Real,
    /// A batch that changes nothing is answered from the copy, without the store.
    AnswersFromTheCopy,
    /// A batch that changes nothing is confirmed even while a write on the same revision is in flight.
    NoFence,
    /// The server does not read after an unknown outcome.
    NoRead,
    /// An unknown outcome is treated as a success.
    TreatsUnknownAsSuccess,
    /// After an unknown outcome the same value is written again, over the value that is current by then.
    ResendsBlindly,
}

pub(crate) const TRUE_ANSWERS: &str =
    "1, 3, 4: a response was true at some moment since the request";
pub(crate) const NEVER_ABOVE_SLOTS: &str = "2: a grant never takes holders above slots";
pub(crate) const ALWAYS_ANSWERED: &str = "5: a server without faults answers all waiting nodes";
pub(crate) const ANSWERS_STAY_TRUE: &str =
    "6: a response stays true until the node sends another request";
pub(crate) const NO_NEEDLESS_WRITE: &str = "9: a release by a non-holder writes nothing";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Ask {
        node: usize,
        endpoint: Endpoint,
        server: usize,
    },
    HangUp {
        node: usize,
    },
    Read {
        server: usize,
    },
    Commit {
        server: usize,
        fate: Fate,
    },
    /// A late write arrives at the store.
    Arrive {
        late: usize,
    },
    /// The watch delivers the current value.
    Follow {
        server: usize,
    },
    /// The server crashes and starts again without any state.
    Crash {
        server: usize,
    },
    /// An administrator unlocks a holder.
    Release {
        node: usize,
    },
    /// A coreos/airlock server handles a request of a node.
    CoreosAirlock {
        node: usize,
        endpoint: Endpoint,
    },
    Pause,
    Resume,
}

/// The fate of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
    Late,
}

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            revision: Revision::ABSENT,
            value: Value {
                slots: self.slots,
                holders: 0,
            },
            late: Vec::new(),
            servers: vec![Server::default(); self.servers],
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
                    use Fate::{AnswerLost, Answered, Late, RequestLost};
                    let fates = [Answered, AnswerLost, RequestLost, Late];
                    actions.extend(fates.map(|fate| Action::Commit { server, fate }));
                } else {
                    actions.push(Action::Read { server });
                }
            }
            actions.push(Action::Follow { server });
            actions.push(Action::Crash { server });
        }
        actions.extend((0..state.late.len()).map(|late| Action::Arrive { late }));
        if self.pause {
            let paused = state.value.slots == 0;
            actions.push(if paused {
                Action::Resume
            } else {
                Action::Pause
            });
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        // The faulty variants use state that the real protocol ignores.
        if matches!(self.variant, Variant::Real | Variant::NoRead) {
            next.normalize();
            next.sort_servers();
        }
        // The state has no history: an action that changes nothing leads to no new state.
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TRUE_ANSWERS, |_, state: &State| {
                state.broken != Some(TRUE_ANSWERS)
            }),
            Property::always(NEVER_ABOVE_SLOTS, |_, state: &State| {
                state.broken != Some(NEVER_ABOVE_SLOTS)
            }),
            Property::always(NO_NEEDLESS_WRITE, |_, state: &State| {
                state.broken != Some(NO_NEEDLESS_WRITE)
            }),
            Property::always(ANSWERS_STAY_TRUE, |_, state: &State| {
                (0..)
                    .zip(&state.nodes)
                    .all(|(node, its)| match its.last_reply {
                        Some(Reply::Held) => state.value.holds(node),
                        Some(Reply::NotHeld) => !state.value.holds(node),
                        None => true,
                    })
            }),
            Property::always(ALWAYS_ANSWERED, |fleet: &Fleet, state: &State| {
                (0..fleet.servers).all(|server| fleet.answers_all_if_left_alone(state, server))
            }),
            // The search is meaningful only if it reaches these states.
            Property::sometimes("all slots are held", |fleet: &Fleet, state: &State| {
                u64::from(state.value.holders.count_ones()) == fleet.slots
            }),
            Property::sometimes(
                "a node is waited for by a late write",
                |_, state: &State| {
                    state.late.iter().any(|late| late.of.is_some())
                        && state.nodes.iter().any(|node| node.last_reply.is_some())
                },
            ),
        ]
    }
}

impl Fleet {
    fn actions_of_node(&self, state: &State, node: usize, actions: &mut Vec<Action>) {
        if state.value.holds(node) {
            actions.push(Action::Release { node });
        }
        if state.nodes[node].facts.is_some() {
            actions.push(Action::HangUp { node });
            return;
        }
        for endpoint in [Endpoint::PreReboot, Endpoint::SteadyState] {
            actions.push(Action::CoreosAirlock { node, endpoint });
            actions.extend((0..self.servers).map(|server| Action::Ask {
                node,
                endpoint,
                server,
            }));
        }
    }

    fn step(&self, state: &mut State, action: Action) {
        let value = state.value;
        match action {
            Action::Ask {
                node,
                endpoint,
                server,
            } => {
                state.nodes[node] = Node {
                    facts: Some(Facts::default().and(value, node)),
                    last_reply: None,
                };
                state.servers[server].waiting.push((node, endpoint));
            }
            Action::HangUp { node } => {
                state.nodes[node].facts = None;
                // Invariant 7: the request is no longer applied.
                for server in &mut state.servers {
                    server.waiting.retain(|(waiting, _)| *waiting != node);
                }
            }
            Action::Read { server } => {
                state.servers[server].known = Some((state.revision, value));
                state.servers[server].protocol.has_read();
            }
            Action::Follow { server } => {
                state.servers[server].known = Some((state.revision, value));
            }
            Action::Commit { server, fate } => self.commit(state, server, fate),
            Action::Arrive { late } => {
                let late = state.late.remove(late);
                state.write(late.value);
            }
            Action::Crash { server } => state.crash(server),
            Action::Release { node } => {
                state.nodes[node].last_reply = None;
                state.write(value.without(node));
            }
            Action::CoreosAirlock { node, endpoint } => state.coreos_airlock(node, endpoint),
            Action::Pause => state.write(Value { slots: 0, ..value }),
            Action::Resume => state.write(Value {
                slots: self.slots,
                ..value
            }),
        }
    }

    /// Performs one attempt of a server, as its group task does.
    fn commit(&self, state: &mut State, server: usize, fate: Fate) {
        let its = &state.servers[server];
        let Some((revision, known)) = its.known else {
            return;
        };
        let commands: Vec<Command> = its.waiting.iter().map(|asked| command(*asked)).collect();
        let attempt = its.protocol.attempt(revision, &semaphore(known), &commands);
        let next = Value::of(&attempt.next);
        let fenced = its.protocol.in_doubt == Some(revision);
        if attempt.writes && !fenced && !attempt.outcomes.iter().any(|outcome| outcome.changes()) {
            state.broken = Some(NO_NEEDLESS_WRITE);
        }
        if self.variant == Variant::AnswersFromTheCopy && !attempt.writes {
            state.answer(server, attempt);
            return;
        }
        let wins = revision == state.revision;
        match fate {
            Fate::Answered if !wins => {
                state.servers[server].known = Some((state.revision, state.value));
            }
            Fate::Answered => {
                state.apply_in_order(server, &commands);
                if attempt.writes {
                    state.write_of_ours(next);
                }
                state.servers[server].known = Some((state.revision, next));
                state.servers[server].protocol.committed(&attempt);
                state.answer(server, attempt);
            }
            Fate::AnswerLost => {
                if wins && attempt.writes {
                    state.write_of_ours(next);
                }
                self.unknown(state, server, attempt);
            }
            Fate::RequestLost => self.unknown(state, server, attempt),
            Fate::Late => {
                // A write that can only end in a conflict is equivalent to a lost request.
                if wins && attempt.writes && state.late.len() < self.late {
                    state.late.push(Late {
                        of: Some(server),
                        value: next,
                    });
                    state.late.sort_unstable();
                    self.unknown(state, server, attempt);
                }
            }
        }
    }

    fn unknown(&self, state: &mut State, server: usize, attempt: Attempt) {
        let protocol = &mut state.servers[server].protocol;
        protocol.unknown(&attempt);
        match self.variant {
            Variant::Real | Variant::AnswersFromTheCopy => {}
            Variant::NoFence => protocol.in_doubt = None,
            Variant::NoRead => protocol.must_read = false,
            Variant::TreatsUnknownAsSuccess => state.answer(server, attempt),
            Variant::ResendsBlindly => {
                state.write_of_ours(Value::of(&attempt.next));
                state.answer(server, attempt);
            }
        }
    }

    /// Returns whether the server answers all its requests if there is no fault and no other action.
    fn answers_all_if_left_alone(&self, state: &State, server: usize) -> bool {
        let mut state = state.clone();
        // A read, a conflict, and one commit for each node.
        for _ in 0..2 + self.nodes {
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

fn command((node, endpoint): (usize, Endpoint)) -> Command {
    match endpoint {
        #[expect(clippy::unwrap_used, reason = "a letter is an id")]
        Endpoint::PreReboot => Command::Lock {
            id: name(node).parse().unwrap(),
            at: Timestamp::UNIX_EPOCH,
        },
        Endpoint::SteadyState => Command::Unlock {
            id: name(node).into(),
        },
    }
}
