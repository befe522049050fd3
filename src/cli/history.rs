//! `airlock history`: which nodes have rebooted, when, and for how long they held their slots.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::CliError;
use super::context::StoreContext;
use super::moment;
use super::output::{print, print_json, table};
use super::overview::{Overview, address, is_node};
use crate::lock::audit::{Action, AuditEntry};
use crate::status::{CompletedHoldView, GroupView};
use crate::text::duration;
use crate::text::escape::shortened;

/// The maximum width of a column.
const MAX_WIDTH: usize = 64;

/// The maximum number of characters of an administrator's command: it may name ids of any length.
const MAX_ACTION: usize = 200;

/// The arguments of `airlock history`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print only this reboot group
    group: Option<String>,
    /// Print only the node with this id, name or address
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Print only what happened within this time, for example 24h, 90m or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<SignedDuration>,
    /// Print JSON; docs/reference.md describes it
    #[arg(long)]
    json: bool,
}

fn parse_duration(text: &str) -> Result<SignedDuration, &'static str> {
    duration::parse(text).ok_or("expected a duration such as 24h, 90m or 7d")
}

/// Something that happened in a group.
enum Event<'a> {
    Hold(&'a CompletedHoldView),
    Command(&'a AuditEntry),
}

// === impl Event ===

impl Event<'_> {
    fn at(&self) -> Timestamp {
        match self {
            Event::Hold(hold) => hold.until,
            Event::Command(entry) => entry.at,
        }
    }

    /// Reports whether it concerns the node with this id, name or address.
    fn concerns(&self, node: &str) -> bool {
        match self {
            Event::Hold(hold) => is_node(node, &hold.id, hold.name.as_deref(), hold.peer),
            Event::Command(entry) => match &entry.action {
                Action::Lock { id } => **id == *node,
                Action::Unlock { ids, .. } => ids.iter().any(|id| **id == *node),
                Action::SetSlots { .. } | Action::Pause | Action::Resume { .. } => false,
            },
        }
    }
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let overview =
        Overview::read(&context, arguments.group.as_deref(), context.store_view()).await?;
    let now = overview.view.now;
    let after = arguments
        .since
        .and_then(|since| now.checked_sub(since).ok())
        .unwrap_or(Timestamp::MIN);
    let is_wanted = |event: &Event<'_>| {
        let node = arguments.node.as_deref();
        event.at() >= after && node.is_none_or(|node| event.concerns(node))
    };
    let mut events: Vec<(&GroupView, Event<'_>)> = Vec::new();
    for group in &overview.view.groups {
        let holds = group.history.iter().map(Event::Hold);
        let commands = group.audit_log.iter().map(Event::Command);
        let wanted = holds.chain(commands).filter(&is_wanted);
        events.extend(wanted.map(|event| (group, event)));
    }
    events.sort_by_key(|(_, event)| std::cmp::Reverse(event.at()));
    if arguments.json {
        let groups: Vec<_> = overview
            .view
            .groups
            .iter()
            .map(|group| {
                let holds = group
                    .history
                    .iter()
                    .filter(|hold| is_wanted(&Event::Hold(hold)));
                let commands = group.audit_log.iter();
                let commands = commands.filter(|entry| is_wanted(&Event::Command(entry)));
                json!({
                    "name": group.name,
                    "usual_hold_seconds": group.usual_hold_seconds,
                    "history": holds.collect::<Vec<_>>(),
                    "history_has_gap": group.history_has_gap,
                    "audit_log": commands.collect::<Vec<_>>(),
                })
            })
            .collect();
        return print_json(&json!({ "store": context.location(), "groups": groups }));
    }
    print(context.location())?;
    print("")?;
    if events.is_empty() {
        return print("nothing is recorded");
    }
    let header = ["TIME", "GROUP", "NODE", "ADDRESS", "HELD", "RELEASED BY"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(events.iter().map(|(group, event)| row(group, event, now)));
    let mut lines = table(rows, &[], MAX_WIDTH).into_iter();
    lines.try_for_each(print)?;
    print_notes(&overview.view.groups)
}

fn row(group: &GroupView, event: &Event<'_>, now: Timestamp) -> [String; 6] {
    let at = moment::local(event.at(), now);
    let name = group.name.clone();
    match event {
        Event::Hold(hold) => [
            at,
            name,
            hold.node().to_owned(),
            address(hold.peer),
            hold.held_seconds
                .map_or_else(|| "unknown".into(), duration::seconds),
            hold.by.clone().unwrap_or_else(|| "node".into()),
        ],
        Event::Command(entry) => {
            let action = entry.action.to_string();
            let text = format!("{} {}", entry.by, shortened(&action, MAX_ACTION));
            [at, name, text, String::new(), String::new(), String::new()]
        }
    }
}

/// Tells where holds may be missing.
fn print_notes(groups: &[GroupView]) -> Result<(), CliError> {
    for group in groups {
        let has_gap = group.history_has_gap || group.history.iter().any(|hold| hold.after_gap);
        if has_gap {
            print("")?;
            print(format_args!(
                "{}: another program, such as coreos/airlock, has changed the group as well; its holds are not recorded",
                group.name
            ))?;
        }
    }
    Ok(())
}
