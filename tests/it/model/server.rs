//! A server: what the group task and its attempt loop do with the outcomes of commits.

use airlock::lock::codec::Revision;
use airlock::lock::holders::Client;
use airlock::lock::policy::{Conditions, Refusal, Terms};
use airlock::lock::protocol::{Attempt, Protocol};
use airlock::lock::semaphore::{Command, Outcome, Semaphore};
use jiff::Timestamp;

use super::action::{Fate, Variant};
use super::fleet::{Fleet, NO_NEEDLESS_WRITE};
use super::state::{Endpoint, Facts, GONE, OLDER, Reply, State, Write, Writer};
use super::value::{Content, Value, name};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) known: Option<Content>,
    pub(crate) protocol: Protocol,
    pub(crate) waiting: Vec<Waiting>,
}

/// A request of which the group task has taken note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) node: usize,
    pub(crate) endpoint: Endpoint,
    in_doubt: Option<Revision>,
    may_arrive: bool,
    no_space: bool,
}

impl Server {
    pub(crate) fn can_commit(&self) -> bool {
        self.known.is_some() && !self.protocol.must_read
    }

    pub(crate) fn rename_revisions(&mut self, rename: &impl Fn(&mut Revision)) {
        let known = &mut self.known;
        let requests = self.waiting.iter_mut().map(|waiting| &mut waiting.in_doubt);
        rename_beside(known, requests.chain([&mut self.protocol.in_doubt]), rename);
    }

    pub(crate) fn normalize(&mut self, renamed: bool) {
        // The server reads the value before it uses it.
        if self.protocol.must_read {
            self.known = None;
        }
        if !renamed {
            return;
        }
        // No comparison with this revision succeeds.
        if matches!(self.protocol.in_doubt, Some(GONE | OLDER)) {
            self.protocol.in_doubt = None;
        }
    }

    /// The key by which servers are sorted.
    pub(crate) fn key(&self) -> impl Ord + use<> {
        let Protocol {
            must_read,
            in_doubt,
        } = self.protocol;
        (self.known, must_read, in_doubt, self.waiting.clone())
    }
}

impl Waiting {
    pub(crate) fn new(node: usize, endpoint: Endpoint) -> Self {
        Waiting {
            node,
            endpoint,
            in_doubt: None,
            may_arrive: false,
            no_space: false,
        }
    }

    fn command(&self) -> Command {
        let id = name(self.node).into();
        match self.endpoint {
            #[expect(clippy::unwrap_used, reason = "a letter is an id")]
            Endpoint::PreReboot => Command::Lock {
                id: name(self.node).parse().unwrap(),
                at: Timestamp::UNIX_EPOCH,
                client: Client::default(),
                terms: Terms::default(),
            },
            Endpoint::Renew => Command::Renew { id },
            Endpoint::SteadyState => Command::Unlock {
                id,
                at: Timestamp::UNIX_EPOCH,
                peer: None,
            },
        }
    }
}

/// Renames the known revision, and those that are compared with it.
pub(crate) fn rename_beside<'a>(
    known: &mut Option<Content>,
    others: impl Iterator<Item = &'a mut Option<Revision>>,
    rename: &impl Fn(&mut Revision),
) {
    let before = known.map(|known| known.revision);
    if let Some(known) = known {
        rename(&mut known.revision);
    }
    for revision in others.flatten() {
        let is_known = Some(*revision) == before;
        rename(revision);
        if *revision == GONE && !is_known {
            *revision = OLDER;
        }
    }
}

impl Fleet {
    /// Performs one attempt of a server.
    pub(crate) fn commit(&self, state: &mut State, server: usize, fate: Fate) {
        let Some(known) = state.servers[server].known else {
            return;
        };
        let value = known.or_empty(self.slots);
        let semaphore = value.semaphore();
        self.end_before_commit(state, server, known, &semaphore);
        let its = &state.servers[server];
        if its.waiting.is_empty() {
            return;
        }
        let attempt = self.attempt(its, known, value);
        let fenced = its.protocol.in_doubt == Some(known.revision);
        if attempt.writes && !fenced && !attempt.outcomes.iter().any(|outcome| outcome.changes()) {
            state.broken = Some(NO_NEEDLESS_WRITE);
        }
        if self.variant == Variant::AnswersFromTheCopy && !attempt.writes {
            answer(state, server, &attempt);
            return;
        }
        let creates =
            attempt.writes && known.value.is_none() && self.variant != Variant::CreatesWithHolder;
        let changes = its.waiting.iter().zip(&attempt.outcomes);
        let applies = changes
            .filter(|(_, outcome)| outcome.changes() && !creates)
            .fold(0, |nodes, (waiting, _)| nodes | 1 << waiting.node);
        let write = Write {
            of: Writer::Server(server),
            expected: known,
            value: match creates {
                true => value,
                false => value.replaced_by(&attempt.next),
            },
            applies,
        };
        let wins = state.content.is_still(known, self.compares_bytes());
        match fate {
            Fate::Answered if !wins => state.servers[server].known = Some(state.content),
            Fate::Answered if creates => {
                state.write_of_ours(write);
                state.servers[server].known = Some(state.content);
            }
            Fate::Answered => {
                apply_in_order(state, server, value);
                if attempt.writes {
                    state.write_of_ours(write);
                    state.servers[server].known = Some(state.content);
                }
                state.servers[server].protocol.committed(&attempt);
                answer(state, server, &attempt);
            }
            Fate::AnswerLost => {
                if wins && attempt.writes {
                    state.write_of_ours(write);
                }
                self.unknown(state, server, creates, &attempt, write);
            }
            Fate::RequestLost => self.unknown(state, server, creates, &attempt, write),
            Fate::Late => {
                // A write that can only end in a conflict is equivalent to a lost request.
                let wins_later = known.value.is_none() && state.interventions > 0;
                if (wins || wins_later) && attempt.writes && state.late.len() < self.late {
                    state.send_late(write);
                    self.unknown(state, server, creates, &attempt, write);
                }
            }
            _ if !attempt.writes || !wins => {}
            Fate::Rejected => {
                if creates {
                    state.servers[server].protocol.outdated();
                }
                self.write_rejected(state, server, &semaphore, &attempt);
            }
            Fate::NoSpace { applied } => {
                if applied {
                    state.write_of_ours(write);
                }
                state.servers[server].protocol.outdated();
                match creates || self.variant == Variant::RefusesWithoutRead {
                    true => self.write_rejected(state, server, &semaphore, &attempt),
                    false => no_space(state, server, &semaphore, &attempt),
                }
            }
        }
    }

    fn attempt(&self, server: &Server, known: Content, value: Value) -> Attempt {
        let commands: Vec<Command> = server.waiting.iter().map(Waiting::command).collect();
        let protocol = &server.protocol;
        if self.variant != Variant::GrantsOneTooMany {
            return protocol.attempt(
                known.revision,
                &value.semaphore(),
                &Conditions::default(),
                &commands,
            );
        }
        let slots = value.slots + 1;
        let mut attempt = protocol.attempt(
            known.revision,
            &Value { slots, ..value }.semaphore(),
            &Conditions::default(),
            &commands,
        );
        std::sync::Arc::make_mut(&mut attempt.next).slots = value.slots;
        attempt
    }

    /// Ends the requests whose outcome can no longer be determined, and those for which the store had no space.
    fn end_before_commit(
        &self,
        state: &mut State,
        server: usize,
        known: Content,
        semaphore: &Semaphore,
    ) {
        for waiting in state.servers[server].waiting.clone() {
            let command = waiting.command();
            let is_done = Protocol::is_done(&command, semaphore);
            let is_ambiguous =
                Protocol::is_ambiguous(&command, waiting.in_doubt, known.revision, semaphore);
            if is_ambiguous && self.variant != Variant::RepeatsTheAmbiguous {
                state.leave(waiting.node);
            } else if waiting.no_space && !is_done {
                state.refuse(waiting.node);
            } else {
                continue;
            }
            remove(state, server, waiting.node);
        }
        // Those that are done come first.
        let moved = |in_doubt: Revision| in_doubt != known.revision;
        let requests = &mut state.servers[server].waiting;
        requests.sort_by_key(|waiting| !waiting.in_doubt.is_some_and(moved));
    }

    fn unknown(
        &self,
        state: &mut State,
        server: usize,
        creates: bool,
        attempt: &Attempt,
        write: Write,
    ) {
        let its = &mut state.servers[server];
        if creates {
            its.protocol.outdated();
            return;
        }
        if self.variant == Variant::TreatsUnknownAsUnreachable {
            return;
        }
        its.protocol.unknown(attempt);
        for (waiting, outcome) in its.waiting.iter_mut().zip(&attempt.outcomes) {
            if outcome.changes() {
                waiting.in_doubt = Some(attempt.expected);
                waiting.may_arrive = true;
            }
        }
        match self.variant {
            Variant::NoFence => its.protocol.in_doubt = None,
            Variant::NoRead => its.protocol.must_read = false,
            Variant::TreatsUnknownAsSuccess => answer(state, server, attempt),
            Variant::ResendsBlindly => {
                state.write_of_ours(write);
                answer(state, server, attempt);
            }
            _ => {}
        }
    }

    fn write_rejected(
        &self,
        state: &mut State,
        server: usize,
        semaphore: &Semaphore,
        attempt: &Attempt,
    ) {
        let mut needs_write = attempt.needs_write(semaphore);
        for waiting in state.servers[server].waiting.clone() {
            if needs_write(&waiting.command()) {
                self.reject(state, server, waiting);
            }
        }
    }

    /// Ends a request with the error of the store.
    fn reject(&self, state: &mut State, server: usize, waiting: Waiting) {
        if waiting.in_doubt.is_some() && self.variant != Variant::RefusesInDoubt {
            // The response says that the outcome is unknown.
            state.leave(waiting.node);
        } else {
            state.refuse(waiting.node);
        }
        remove(state, server, waiting.node);
    }

    /// The store rejects the read of a server: all its requests fail.
    pub(crate) fn read_rejected(&self, state: &mut State, server: usize) {
        for waiting in state.servers[server].waiting.clone() {
            self.reject(state, server, waiting);
        }
    }
}

fn no_space(state: &mut State, server: usize, semaphore: &Semaphore, attempt: &Attempt) {
    let mut needs_write = attempt.needs_write(semaphore);
    let mut outcomes = attempt.outcomes.iter();
    for waiting in &mut state.servers[server].waiting {
        if needs_write(&waiting.command()) && !waiting.may_arrive {
            waiting.no_space = true;
        }
        if outcomes.next().is_some_and(|outcome| outcome.changes()) {
            waiting.in_doubt = Some(attempt.expected);
        }
    }
}

fn remove(state: &mut State, server: usize, node: usize) {
    state.servers[server]
        .waiting
        .retain(|waiting| waiting.node != node);
}

/// Applies a batch in order. Between two of its requests the slots may be full although no committed value is.
fn apply_in_order(state: &mut State, server: usize, value: Value) {
    let mut turn = Semaphore::clone(&value.semaphore());
    for waiting in state.servers[server].waiting.clone() {
        let now = Content {
            revision: GONE,
            value: Some(value.replaced_by(&turn)),
        };
        if let Some(facts) = &mut state.nodes[waiting.node].facts {
            facts.full |= Facts::default().and(now, waiting.node).full;
        }
        turn.apply(&waiting.command(), &Conditions::default());
    }
}

fn answer(state: &mut State, server: usize, attempt: &Attempt) {
    let answered: Vec<Waiting> = state.servers[server]
        .waiting
        .drain(..attempt.outcomes.len())
        .collect();
    for (waiting, outcome) in answered.into_iter().zip(&attempt.outcomes) {
        let reply = match outcome {
            Outcome::Locked | Outcome::AlreadyHeld => Reply::Held,
            Outcome::Unlocked | Outcome::NotHeld => Reply::NotHeld,
            Outcome::Refused(Refusal::Full { .. } | Refusal::Paused) => Reply::Full,
            Outcome::Refused(other) => unreachable!("without policies: {other:?}"),
        };
        state.answer(server, waiting.node, reply);
    }
}
