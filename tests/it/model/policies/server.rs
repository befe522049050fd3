//! A server: what its group tasks and their attempt loops do with the outcomes of commits.

use std::sync::Arc;

use airlock::lock::codec::Revision;
use airlock::lock::holders::Client;
use airlock::lock::policy::{CapLimit, CapReached, Refusal, Terms};
use airlock::lock::protocol::{Attempt, Protocol};
use airlock::lock::semaphore::{Command, Outcome};

use super::super::action::Fate;
use super::super::state::{CURRENT, GONE, Writer};
use super::super::value::name;
use super::action::Variant;
use super::fleet::{Fleet, OWN_GROUP, SETTLES, SLOTS, STALLS};
use super::state::{Endpoint, Group, Reason, Reasons, Reply, State, Write};
use super::value::{Content, Tick, Value, time};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    /// One for each group.
    pub(super) tasks: [Task; 2],
}

/// The task of a group.
///
/// A commit on top of an outdated value of the own group only ends in a conflict, after which the task knows the
/// current one. So the model lets each attempt start with that. `known` is what the task of the *other* group uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub(super) known: Content,
    /// Whether an attempt on top of the current revision has an unknown outcome.
    in_doubt: bool,
    pub(super) waiting: Vec<Waiting>,
    /// What a faulty server keeps in memory.
    pub(super) memory: Option<Tick>,
}

/// A request of which the group task has taken note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Waiting {
    pub(super) node: usize,
    pub(super) endpoint: Endpoint,
    /// The time of the request.
    pub(super) at: Tick,
    /// The revision on which an attempt of unknown outcome was based: the current one or an earlier one.
    pub(super) in_doubt: Option<Revision>,
}

impl Server {
    /// A server that has read all values just now.
    pub(super) fn started(groups: &[Group; 2], clock: Option<Tick>) -> Self {
        Server {
            tasks: groups.map(|group| Task {
                known: group.content,
                in_doubt: false,
                waiting: Vec::new(),
                memory: clock,
            }),
        }
    }

    /// The key by which servers are sorted.
    pub(super) fn key(&self) -> impl Ord + '_ {
        let tasks = self.tasks.each_ref();
        tasks.map(|task| (task.known, task.in_doubt, &task.waiting, task.memory))
    }
}

impl Task {
    /// Another revision becomes the current one.
    pub(super) fn outdate(&mut self) {
        let holders = self.known.value.holders;
        self.known = Content {
            revision: GONE,
            // The other group's task uses nothing else.
            value: Value {
                holders,
                ..Value::default()
            },
        };
        self.in_doubt = false;
        let in_doubt = self.waiting.iter_mut();
        for revision in in_doubt.filter_map(|waiting| waiting.in_doubt.as_mut()) {
            *revision = GONE;
        }
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            must_read: false,
            in_doubt: self.in_doubt.then_some(CURRENT),
        }
    }
}

impl Waiting {
    fn command(&self) -> Command {
        let at = time(self.at);
        match self.endpoint {
            #[expect(clippy::unwrap_used, reason = "a letter is an id")]
            Endpoint::PreReboot => Command::Lock {
                id: name(self.node).parse().unwrap(),
                at,
                client: Client::default(),
                terms: Terms::default(),
            },
            Endpoint::SteadyState => Command::Unlock {
                id: name(self.node).into(),
                at,
                peer: None,
            },
        }
    }
}

impl Fleet {
    /// Performs one attempt of the task of a group.
    pub(super) fn commit(&self, state: &mut State, server: usize, group: usize, fate: Fate) {
        state.follow(server, group);
        self.end_ambiguous(state, server, group);
        let tasks = &state.servers[server].tasks;
        let (task, other) = (&tasks[group], tasks[1 - group].known);
        if task.waiting.is_empty() {
            return;
        }
        let attempt = self.attempt(task, other);
        let compares_other = self.compares_other(&attempt);
        if self.variant == Variant::RefusesFromTheCopy && !attempt.writes && compares_other {
            self.answer(state, server, group, &attempt);
            return;
        }
        let wins = !compares_other || other.is_current();
        let depends_on_other = attempt.outcomes.iter().any(Outcome::depends_on_members);
        if !wins && !depends_on_other {
            state.broken = Some(OWN_GROUP);
        }
        let write = self.write(task, server, group, &attempt, compares_other);
        if wins && fate != Fate::RequestLost {
            self.check_in_order(state, server, group, &attempt, fate);
        }
        match fate {
            Fate::Answered if !wins => state.follow(server, 1 - group),
            Fate::Answered => {
                if attempt.writes {
                    state.write(&self.policies, write);
                    self.add_facts(state);
                    state.follow(server, group);
                }
                let task = &mut state.servers[server].tasks[group];
                if self.variant == Variant::KeepsReleasesInMemory {
                    task.memory = Value::of(&attempt.next).released;
                }
                self.answer(state, server, group, &attempt);
            }
            Fate::AnswerLost => {
                self.unknown(state, server, group, &attempt);
                if wins && attempt.writes {
                    state.write(&self.policies, write);
                    self.add_facts(state);
                }
            }
            Fate::RequestLost => self.unknown(state, server, group, &attempt),
            // A write that can only end in a conflict is equivalent to a lost request.
            Fate::Late if wins && attempt.writes && state.late.len() < self.late => {
                state.send_late(write);
                self.unknown(state, server, group, &attempt);
            }
            Fate::Late | Fate::Rejected | Fate::NoSpace { .. } => {}
        }
    }

    /// Plans the next commit, with the real protocol unless a variant replaces a part of it.
    fn attempt(&self, task: &Task, other: Content) -> Attempt {
        let known = task.known;
        let mut semaphore = known.value.semaphore(self.slots);
        let conditions = self.policies.conditions(other.value);
        match self.variant {
            Variant::KeepsReleasesInMemory => {
                Arc::make_mut(&mut semaphore).released_at = task.memory.map(time);
            }
            Variant::ForgetsGrants => {
                let seen = known.value.seen_at(task.memory.unwrap_or_default());
                semaphore = seen.semaphore(self.slots);
            }
            _ => {}
        }
        let commands: Vec<Command> = task.waiting.iter().map(Waiting::command).collect();
        let protocol = task.protocol();
        let mut attempt = protocol.attempt(known.revision, &semaphore, &conditions, &commands);
        match self.variant {
            Variant::StoresLastCommittedRelease => {
                if let Some(hold) = attempt.released.last() {
                    Arc::make_mut(&mut attempt.next).released_at = Some(hold.until);
                }
            }
            // Where one node in all may hold a slot, each holder is at the limit.
            Variant::RefusesHolders => {
                for outcome in &mut attempt.outcomes {
                    if *outcome == Outcome::AlreadyHeld {
                        *outcome = Outcome::Refused(Refusal::CapReached(CapReached {
                            cap: "c".into(),
                            limit: CapLimit::Held(1),
                        }));
                        attempt.compares_members = true;
                    }
                }
            }
            _ => {}
        }
        attempt
    }

    /// Reports whether a commit compares the other group too.
    fn compares_other(&self, attempt: &Attempt) -> bool {
        let has = |outcome| attempt.outcomes.contains(&outcome);
        match self.variant {
            Variant::ComparesOwnGroupOnly => false,
            Variant::RefusesByOwnGroupOnly => attempt.compares_members && has(Outcome::Locked),
            Variant::ReleasesCompareBoth => attempt.compares_members || has(Outcome::Unlocked),
            _ => attempt.compares_members,
        }
    }

    fn write(
        &self,
        task: &Task,
        server: usize,
        group: usize,
        attempt: &Attempt,
        compares_other: bool,
    ) -> Write {
        let mut value = Value::of(&attempt.next);
        if self.variant == Variant::ForgetsGrants {
            value.since = value.since_in(task.known.value);
        }
        value = self.policies.keep(value);
        if self.variant == Variant::KeepsReleasesInMemory {
            value.released = None;
        }
        let mut write = Write {
            of: Writer::Server(server),
            group,
            compares_other,
            value,
            released: None,
            applies: 0,
        };
        for (waiting, outcome) in task.waiting.iter().zip(&attempt.outcomes) {
            if outcome.changes() {
                write.applies |= 1 << waiting.node;
            }
            if *outcome == Outcome::Unlocked && self.policies.settle.is_some() {
                write.released = write.released.max(Some(waiting.at));
            }
        }
        write
    }

    /// Applies a batch in order, on top of the current value, and checks each grant. If the batch is answered, adds the
    /// facts between two of its requests.
    fn check_in_order(
        &self,
        state: &mut State,
        server: usize,
        group: usize,
        attempt: &Attempt,
        fate: Fate,
    ) {
        let [own, other] = [group, 1 - group].map(|group| state.groups[group]);
        let mut turn = own;
        let waiting = &state.servers[server].tasks[group].waiting;
        for (waiting, outcome) in waiting.iter().zip(&attempt.outcomes) {
            let Waiting { node, at, .. } = *waiting;
            let now = self.policies.facts(self.slots, turn, other, node, at);
            if let Some(facts) = &mut state.nodes[node].facts
                && fate == Fate::Answered
            {
                facts.reasons |= now.reasons;
            }
            let value = &mut turn.content.value;
            match outcome {
                Outcome::Locked => {
                    let properties = [
                        (Reason::Full, SLOTS),
                        (Reason::Stalled, STALLS),
                        (Reason::Settling, SETTLES),
                    ];
                    for (reason, property) in properties {
                        if now.reasons & reason as Reasons != 0 {
                            state.broken = Some(property);
                        }
                    }
                    *value = value.with(node, at);
                }
                Outcome::Unlocked => {
                    *value = value.without(node);
                    turn.released = turn.released.max(Some(at));
                }
                Outcome::AlreadyHeld | Outcome::Refused(_) | Outcome::NotHeld => {}
            }
        }
    }

    /// Ends the requests whose outcome can no longer be determined. Those that are done come first.
    fn end_ambiguous(&self, state: &mut State, server: usize, group: usize) {
        let known = state.groups[group].content;
        let tasks = &mut state.servers[server].tasks;
        let waiting = &mut tasks[group].waiting;
        if waiting.iter().all(|waiting| waiting.in_doubt.is_none()) {
            return;
        }
        let semaphore = known.value.semaphore(self.slots);
        let is_ambiguous = |waiting: &mut Waiting| {
            let command = waiting.command();
            Protocol::is_ambiguous(&command, waiting.in_doubt, known.revision, &semaphore)
        };
        let ambiguous: Vec<Waiting> = waiting.extract_if(.., is_ambiguous).collect();
        let moved = |in_doubt: Revision| in_doubt != known.revision;
        waiting.sort_by_key(|waiting| !waiting.in_doubt.is_some_and(moved));
        for waiting in ambiguous {
            state.leave(waiting.node);
        }
    }

    fn unknown(&self, state: &mut State, server: usize, group: usize, attempt: &Attempt) {
        let task = &mut state.servers[server].tasks[group];
        for (waiting, outcome) in task.waiting.iter_mut().zip(&attempt.outcomes) {
            if outcome.changes() {
                waiting.in_doubt = Some(attempt.expected);
            }
        }
        let mut protocol = task.protocol();
        protocol.unknown(attempt);
        task.in_doubt = protocol.in_doubt == Some(CURRENT) && self.variant != Variant::NoFence;
    }

    fn answer(&self, state: &mut State, server: usize, group: usize, attempt: &Attempt) {
        let waiting = &mut state.servers[server].tasks[group].waiting;
        let answered: Vec<Waiting> = waiting.drain(..attempt.outcomes.len()).collect();
        for (waiting, outcome) in answered.into_iter().zip(&attempt.outcomes) {
            let reply = match outcome {
                Outcome::Locked | Outcome::AlreadyHeld => Reply::Held,
                Outcome::Unlocked | Outcome::NotHeld => Reply::NotHeld,
                Outcome::Refused(Refusal::Full { .. }) => Reply::Refused(Reason::Full),
                Outcome::Refused(Refusal::Stalled(_)) => Reply::Refused(Reason::Stalled),
                Outcome::Refused(Refusal::Settling { .. }) => Reply::Refused(Reason::Settling),
                Outcome::Refused(Refusal::CapReached(_)) => Reply::Refused(Reason::Capped),
                Outcome::Refused(other) => unreachable!("no such policy: {other:?}"),
            };
            state.answer(server, group, waiting.node, reply);
        }
    }
}
