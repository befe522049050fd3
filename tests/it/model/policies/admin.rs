//! An administrator's lock beside the servers, as `admin::execute` attempts it. What it does after an unknown outcome
//! is part of the other searches.

use airlock::lock::command::{AdminCommand, Decision};

use super::super::action::Fate;
use super::super::state::Writer;
use super::super::value::name;
use super::action::{Action, Variant};
use super::fleet::Fleet;
use super::state::{Admin, State, Write};
use super::value::{Content, NOW, Value, time};

impl Fleet {
    pub(super) fn actions_of_admin(&self, state: &State, actions: &mut Vec<Action>) {
        if self.admin_locks.is_none() || state.admin.has_ended {
            return;
        }
        let unknown = (0..2).filter(|group| state.admin.known[*group].is_none());
        actions.extend(unknown.map(|group| Action::AdminRead { group }));
        if state.admin.known.iter().all(Option::is_some) {
            let fates = [Fate::Answered, Fate::Late];
            actions.extend(fates.map(|fate| Action::AdminCommit { fate }));
        }
    }

    /// Performs one attempt of the command.
    pub(super) fn admin_commit(&self, state: &mut State, fate: Fate) {
        let (Some(node), [Some(_), Some(_)]) = (self.admin_locks, state.admin.known) else {
            return;
        };
        let group = self.group_of(node);
        let [Some(known), Some(other)] = [group, 1 - group].map(|group| state.admin.known[group])
        else {
            return;
        };
        let caps: Vec<_> = match self.variant {
            Variant::AdminIgnoresCaps => Vec::new(),
            _ => self.policies.cap(other.value).into_iter().collect(),
        };
        #[expect(clippy::unwrap_used, reason = "a letter is an id")]
        let id = name(node).parse().unwrap();
        let before = known.value.semaphore(self.slots);
        let lock = AdminCommand::Lock { id };
        let Decision::Change { next, .. } = lock.decide(&before, time(NOW), &caps) else {
            state.admin = Admin::ended();
            return;
        };
        let compares_other = !caps.is_empty() && self.variant != Variant::AdminComparesOwnGroupOnly;
        let wins = known.is_current() && (!compares_other || other.is_current());
        let write = Write {
            of: Writer::Admin,
            group,
            compares_other,
            value: self.policies.keep(Value::of(&next)),
            released: None,
            applies: 0,
        };
        match fate {
            Fate::Answered if !wins => {
                state.admin.known = state.groups.map(|group| Some(group.content));
                return;
            }
            Fate::Late if wins && state.late.len() < self.late => state.send_late(write),
            Fate::Answered if wins => {
                state.write(&self.policies, write);
                self.add_facts(state);
            }
            _ => {}
        }
        state.admin = Admin::ended();
    }
}

impl Admin {
    fn ended() -> Self {
        Admin {
            known: [None::<Content>; 2],
            has_ended: true,
        }
    }
}
