//! The view of a group.

use std::path::Path;

use serde::Serialize;

use super::condition::Condition;
use super::rows::{CompletedHoldView, HolderView, LockView, WaiterView};
use super::windows::WindowView;
use crate::config::command_line;
use crate::lock::audit::{Action, AuditEntry};
use crate::text::duration::seconds;

/// The maximum number of waiting nodes that are listed for a group. All of them are counted.
pub(crate) const MAX_LISTED: usize = 300;

/// The view of a group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupView {
    pub(crate) name: String,
    /// The first of the conditions.
    pub(crate) state: Condition,
    /// All conditions that apply, the most severe one first.
    pub(crate) conditions: Vec<Condition>,
    /// Whether an operator should look at it.
    pub(crate) needs_attention: bool,
    /// Each condition in more words.
    #[serde(skip)]
    pub(crate) details: Vec<String>,
    /// The number of rejected clients that claim to belong to the group and need attention.
    pub(crate) rejected_clients: usize,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: not known yet, or the stored value is damaged.
    pub(crate) lock: Option<LockView>,
    /// The reason why the stored value cannot be used.
    pub(crate) damaged: Option<String>,
    pub(crate) windows: WindowView,
    /// The number of waiting nodes that are known; `None` if unknown.
    pub(crate) waiting_count: Option<usize>,
    /// More nodes may wait.
    pub(crate) more_may_wait: bool,
    /// The longest waiting nodes, at most [`MAX_LISTED`]; `None` if unknown.
    pub(crate) waiting: Option<Vec<WaiterView>>,
    /// The latest administrators' commands, the latest first.
    pub(crate) audit_log: Vec<AuditEntry>,
    /// The last completed holds, the latest first.
    pub(crate) history: Vec<CompletedHoldView>,
    /// Whether another program has changed the group since the latest of them.
    pub(crate) history_has_gap: bool,
    /// The usual duration of a hold, if enough of them are known.
    pub(crate) usual_hold_seconds: Option<i64>,
}

// === impl GroupView ===

impl GroupView {
    /// Returns the entry of the latest pause, unless another command has set the slots since.
    pub(crate) fn paused_by(&self) -> Option<&AuditEntry> {
        let mut log = self.audit_log.iter();
        let latest = log.find(|entry| match entry.action {
            Action::Pause | Action::Resume { .. } | Action::SetSlots { .. } => true,
            Action::Lock { .. }
            | Action::Unlock { .. }
            | Action::Override { .. }
            | Action::EndOverride => false,
        });
        latest.filter(|entry| entry.action == Action::Pause)
    }

    /// Returns the state in more words.
    pub(crate) fn detail(&self) -> &str {
        self.details.first().map_or("", String::as_str)
    }

    /// Returns the command that ends a condition of the group, if there is one.
    pub(crate) fn remedy(&self, condition: Condition, config: &Path) -> Option<String> {
        let command = |command, arguments: &[&str]| command_line(config, command, arguments);
        let name = self.name.as_str();
        match condition {
            Condition::Damaged => Some(command("get slots", &[name])),
            Condition::Overdue => {
                let holder = self.lock.as_ref()?.holders.first()?;
                Some(command("unlock", &[name, &holder.id]))
            }
            Condition::SlotsDiffer => {
                let slots = self.configured_slots?.to_string();
                Some(command("set slots", &[name, &slots]))
            }
            Condition::Paused if self.configured_slots.is_some() => {
                Some(command("resume", &[name]))
            }
            Condition::Paused
            | Condition::RejectedClients
            | Condition::Failing
            | Condition::Unknown
            | Condition::NotConfigured
            | Condition::Closed
            | Condition::Full
            | Condition::Rebooting
            | Condition::Free => None,
        }
    }

    /// Returns the number of waiting nodes, as far as they are known.
    pub(crate) fn waiting_nodes(&self) -> usize {
        self.waiting_count.unwrap_or_default()
    }

    /// Returns the words before a number of waiting nodes, if there may be more.
    pub(crate) fn at_least(&self) -> &'static str {
        if self.more_may_wait { "at least " } else { "" }
    }
}

/// Formats how long a slot has been held, next to the usual time.
pub(crate) fn hold_age(holder: &HolderView, group: &GroupView) -> String {
    let age = holder.age.as_deref().unwrap_or("an unknown time");
    match group.usual_hold_seconds {
        Some(usual) => format!("{age} (usually {})", seconds(usual)),
        None => age.to_owned(),
    }
}
