//! An administrator's command beside the servers, as `admin::execute` attempts it.

use airlock::lock::codec::Revision;
use airlock::lock::command::{AdminCommand, Decision};
use airlock::lock::protocol::{Attempt, Protocol};
use jiff::Timestamp;

use super::action::{Fate, Variant};
use super::fleet::Fleet;
use super::server::rename_beside;
use super::state::{State, Write, Writer};
use super::value::{Content, Value, name};

/// What the administrator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Lock { node: usize },
    Unlock { node: usize },
    Pause,
    SetSlots { slots: u64 },
}

/// The state of the only administrator's command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Admin {
    pub(crate) phase: Phase,
    pub(crate) known: Option<Content>,
    pub(crate) protocol: Protocol,
    /// The state on which an attempt of unknown outcome is based.
    in_doubt: Option<Content>,
    /// The store had no space for the latest proposal, which was based on this state, and was not read since.
    no_space: Option<Content>,
    /// Whether the command has taken effect.
    pub(crate) applied: bool,
}

/// The progress of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Running,
    /// It was reported as executed.
    Succeeded,
    /// It was reported as having changed nothing.
    Failed,
    /// It was reported with an unknown outcome.
    Unknown,
}

impl Task {
    fn command(self) -> AdminCommand {
        match self {
            #[expect(clippy::unwrap_used, reason = "a letter is an id")]
            Task::Lock { node } => AdminCommand::Lock {
                id: name(node).parse().unwrap(),
            },
            Task::Unlock { node } => AdminCommand::Unlock {
                id: name(node).into(),
            },
            Task::Pause => AdminCommand::Pause,
            Task::SetSlots { slots } => AdminCommand::SetSlots { slots },
        }
    }
}

impl Admin {
    pub(crate) fn can_commit(&self) -> bool {
        self.known.is_some() && !self.protocol.must_read
    }

    pub(crate) fn rename_revisions(&mut self, rename: &impl Fn(&mut Revision)) {
        let (mut in_doubt, mut no_space) = (revision(self.in_doubt), revision(self.no_space));
        rename_beside(
            &mut self.known,
            [&mut in_doubt, &mut no_space].into_iter(),
            rename,
        );
        for (base, revision) in [
            (&mut self.in_doubt, in_doubt),
            (&mut self.no_space, no_space),
        ] {
            if let (Some(base), Some(revision)) = (base, revision) {
                base.revision = revision;
            }
        }
    }

    /// Drops what no action reads.
    pub(crate) fn normalize(&mut self) {
        // Of the base, only the audit log is read.
        for base in [&mut self.in_doubt, &mut self.no_space]
            .into_iter()
            .flatten()
        {
            base.value = base.value.map(|value| Value {
                slots: 0,
                holders: 0,
                ..value
            });
        }
        // Each attempt writes, so there is nothing to fence.
        self.protocol.in_doubt = None;
        if self.protocol.must_read {
            self.known = None;
        }
        if !matches!(self.phase, Phase::Idle | Phase::Running) {
            *self = Admin {
                phase: self.phase,
                applied: self.applied,
                ..Admin::default()
            };
        }
    }
}

impl Fleet {
    /// The command ends with an error: one that says that nothing was changed, unless something may have been.
    pub(crate) fn admin_fails(&self, admin: &mut Admin) {
        let no_space = admin.no_space.is_some() && self.variant != Variant::FailsWithoutRead;
        let is_unknown = admin.in_doubt.is_some() || no_space;
        let reports = self.variant != Variant::ReportsUnknownAsFailed;
        admin.phase = match is_unknown && reports {
            true => Phase::Unknown,
            false => Phase::Failed,
        };
    }

    /// Performs one attempt of the command.
    pub(crate) fn admin_commit(&self, state: &mut State, task: Task, fate: Fate) {
        let Some(known) = state.admin.known else {
            return;
        };
        let Some(attempt) = self.admin_proposal(&mut state.admin, task, known) else {
            return;
        };
        let creates = known.value.is_none();
        let empty = known.or_empty(self.slots);
        let mut value = empty;
        if !creates {
            value = empty.replaced_by(&attempt.next);
            value.entry = true;
        }
        let write = Write {
            of: Writer::Admin,
            expected: known,
            value,
            applies: 0,
        };
        let wins = state.content.is_still(known, self.compares_bytes());
        match fate {
            Fate::Answered if !wins => state.admin.known = Some(state.content),
            Fate::Answered => {
                state.write_of_ours(write);
                state.admin.known = Some(state.content);
                if !creates {
                    state.admin.phase = Phase::Succeeded;
                }
            }
            Fate::AnswerLost | Fate::RequestLost => {
                if wins && fate == Fate::AnswerLost {
                    state.write_of_ours(write);
                }
                admin_unknown(&mut state.admin, known, &attempt);
            }
            Fate::Late => {
                if wins && state.late.len() < self.late {
                    state.send_late(write);
                    admin_unknown(&mut state.admin, known, &attempt);
                }
            }
            Fate::Rejected | Fate::NoSpace { .. } if !wins => {}
            Fate::Rejected => self.admin_fails(&mut state.admin),
            Fate::NoSpace { applied } => {
                if applied {
                    state.write_of_ours(write);
                }
                state.admin.protocol.outdated();
                match creates {
                    true => self.admin_fails(&mut state.admin),
                    false => state.admin.no_space = Some(known),
                }
            }
        }
    }

    /// Proposes the commit of the command, unless it ends without one.
    fn admin_proposal(&self, admin: &mut Admin, task: Task, known: Content) -> Option<Attempt> {
        let value = known.or_empty(self.slots);
        if let Some(tried) = admin.no_space.take() {
            self.end_without_space(admin, tried, known);
            return None;
        }
        if let Some(in_doubt) = admin.in_doubt {
            match trace(in_doubt, known) {
                Trace::Applied => admin.phase = Phase::Succeeded,
                Trace::None if self.variant != Variant::RepeatsWithoutTrace => {
                    self.admin_fails(admin);
                }
                Trace::Lost => admin.in_doubt = None,
                Trace::Open | Trace::None => {}
            }
            if admin.phase != Phase::Running {
                return None;
            }
        }
        let before = value.semaphore();
        match task.command().decide(&before, Timestamp::UNIX_EPOCH, &[]) {
            Decision::Unchanged => admin.phase = Phase::Succeeded,
            Decision::Refused(_) => self.admin_fails(admin),
            Decision::Change { next, .. } => {
                return Some(Attempt {
                    expected: known.revision,
                    next: next.into(),
                    writes: true,
                    compares_members: false,
                    outcomes: Vec::new(),
                    released: Vec::new(),
                });
            }
        }
        None
    }

    /// Ends the command after the store had no space for the attempt that was based on `tried`.
    fn end_without_space(&self, admin: &mut Admin, tried: Content, known: Content) {
        let may_arrive = admin.in_doubt.is_some();
        let tried = admin.in_doubt.take().unwrap_or(tried);
        match trace(tried, known) {
            Trace::Applied => {
                admin.phase = Phase::Succeeded;
                return;
            }
            Trace::Lost => {}
            Trace::Open if !may_arrive => {}
            Trace::Open | Trace::None => admin.in_doubt = Some(tried),
        }
        self.admin_fails(admin);
    }
}

/// What a state shows of an attempt of unknown outcome.
enum Trace {
    Applied,
    /// It may still arrive.
    Open,
    /// It has not happened, and never will: the audit log was kept, and lacks the entry.
    Lost,
    /// It has happened or never will.
    None,
}

fn trace(base: Content, known: Content) -> Trace {
    let log = |content: Content| content.value.unwrap_or_default();
    match () {
        () if log(known).entry => Trace::Applied,
        () if known.revision == base.revision => Trace::Open,
        () if log(base).earlier && log(known).earlier => Trace::Lost,
        () => Trace::None,
    }
}

fn admin_unknown(admin: &mut Admin, known: Content, attempt: &Attempt) {
    if known.value.is_none() {
        admin.protocol.outdated();
    } else {
        admin.protocol.unknown(attempt);
        admin.in_doubt = Some(known);
    }
}

fn revision(content: Option<Content>) -> Option<Revision> {
    content.map(|content| content.revision)
}
