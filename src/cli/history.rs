//! `airlock history`: which nodes have rebooted, when, and for how long they held their slots.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::CliError;
use super::context::StoreContext;
use super::moment::{self, parse_duration};
use super::nodes::{Node, nodes};
use super::output::{print, print_json, table};
use super::overview::{Overview, address};
use crate::lock::audit::{Action, AuditEntry};
use crate::names::NodeNames;
use crate::status::{CompletedHoldView, GroupView, StatusView};
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

/// Something that happened in a group.
enum Event<'a> {
    Hold(&'a CompletedHoldView),
    Command(&'a AuditEntry),
}

/// What the command line selects.
struct Filter<'a> {
    after: Timestamp,
    /// The id, name or address of a node.
    node: Option<&'a str>,
    /// The ids of this node in all groups: a command names a node by its id only.
    ids: HashSet<&'a str>,
    names: &'a NodeNames,
}

// === impl Event ===

impl Event<'_> {
    fn at(&self) -> Timestamp {
        match self {
            Event::Hold(hold) => hold.until,
            Event::Command(entry) => entry.at,
        }
    }
}

// === impl Filter ===

impl<'a> Filter<'a> {
    fn new(arguments: &'a Arguments, view: &'a StatusView, names: &'a NodeNames) -> Self {
        let since = arguments.since;
        let after = since.and_then(|since| view.now.checked_sub(since).ok());
        let node = arguments.node.as_deref();
        let known = view.groups.iter().flat_map(nodes);
        let known = known.filter(|known| node.is_some_and(|node| known.is(node)));
        Filter {
            after: after.unwrap_or(Timestamp::MIN),
            node,
            ids: known.map(|node| node.id).collect(),
            names,
        }
    }

    fn selects(&self, event: &Event<'_>) -> bool {
        event.at() >= self.after && self.node.is_none_or(|node| self.is_about(event, node))
    }

    fn is_about(&self, event: &Event<'_>, node: &str) -> bool {
        let is_id = |id: &str| {
            id == node
                || self.ids.contains(id)
                || self.names.name(id).is_some_and(|name| *name == *node)
        };
        match event {
            Event::Hold(hold) => Node::from(*hold).is(node),
            Event::Command(entry) => match &entry.action {
                Action::Lock { id } => is_id(id),
                Action::Unlock { ids, .. } => ids.iter().any(|id| is_id(id)),
                Action::SetSlots { .. }
                | Action::Pause
                | Action::Resume { .. }
                | Action::Override { .. }
                | Action::EndOverride => false,
            },
        }
    }
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let overview =
        Overview::read(&context, arguments.group.as_deref(), context.store_view()).await?;
    let view = &overview.view;
    let filter = Filter::new(arguments, view, &context.names);
    if arguments.json {
        let groups: Vec<Value> = view
            .groups
            .iter()
            .map(|group| json_of(group, &filter))
            .collect();
        return print_json(&json!({ "store": context.location(), "groups": groups }));
    }
    let mut events: Vec<(&GroupView, Event<'_>)> = Vec::new();
    for group in &view.groups {
        let holds = group.history.iter().map(Event::Hold);
        let commands = group.audit_log.iter().map(Event::Command);
        let selected = holds.chain(commands).filter(|event| filter.selects(event));
        events.extend(selected.map(|event| (group, event)));
    }
    events.sort_by_key(|(_, event)| std::cmp::Reverse(event.at()));
    print(context.location())?;
    print("")?;
    if events.is_empty() {
        let is_filtered = arguments.node.is_some() || arguments.since.is_some();
        print(match is_filtered {
            true => "no entry matches",
            false => "nothing is recorded",
        })?;
    } else {
        let header = ["TIME", "GROUP", "NODE", "ADDRESS", "HELD", "BY"];
        let mut rows = vec![header.map(str::to_owned)];
        let names = &context.names;
        rows.extend(
            events
                .iter()
                .map(|(group, event)| row(group, event, names, view.now)),
        );
        table(rows, &[], MAX_WIDTH)
            .into_iter()
            .try_for_each(print)?;
    }
    print_notes(&view.groups)
}

fn json_of(group: &GroupView, filter: &Filter<'_>) -> Value {
    let holds = group.history.iter();
    let holds = holds.filter(|hold| filter.selects(&Event::Hold(hold)));
    let commands = group.audit_log.iter();
    let commands = commands.filter(|entry| filter.selects(&Event::Command(entry)));
    json!({
        "name": group.name,
        "usual_hold_seconds": group.usual_hold_seconds,
        "history": holds.collect::<Vec<_>>(),
        "history_has_gap": group.history_has_gap,
        "audit_log": commands.collect::<Vec<_>>(),
    })
}

fn row(group: &GroupView, event: &Event<'_>, names: &NodeNames, now: Timestamp) -> [String; 6] {
    let at = moment::since(event.at(), now);
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
            let action = with_names(&entry.action, group, names).to_string();
            let text = format!("{} {}", entry.by, shortened(&action, MAX_ACTION));
            let none = || "-".to_owned();
            [at, name, none(), none(), none(), text]
        }
    }
}

/// Adds the names of the nodes to their ids.
fn with_names(action: &Action, group: &GroupView, names: &NodeNames) -> Action {
    let named = |id: &Arc<str>| -> Arc<str> {
        let known = nodes(group).find(|node| *node.id == **id && node.name.is_some());
        let present = names.name(id);
        let node = Node {
            id,
            name: present
                .as_deref()
                .or_else(|| known.and_then(|node| node.name)),
            peer: None,
        };
        node.describe().into()
    };
    match action {
        Action::Lock { id } => Action::Lock { id: named(id) },
        Action::Unlock { ids, more } => Action::Unlock {
            ids: ids.iter().map(named).collect(),
            more: *more,
        },
        Action::SetSlots { .. }
        | Action::Pause
        | Action::Resume { .. }
        | Action::Override { .. }
        | Action::EndOverride => action.clone(),
    }
}

/// Tells where holds may be missing.
fn print_notes(groups: &[GroupView]) -> Result<(), CliError> {
    let has_gap = |group: &&GroupView| {
        group.history_has_gap || group.history.iter().any(|hold| hold.after_gap)
    };
    let mut with_gap = groups.iter().filter(has_gap).peekable();
    if with_gap.peek().is_some() {
        print("")?;
    }
    with_gap.try_for_each(|group| {
        print(format_args!(
            "{}: another program, such as coreos/airlock, has changed the group as well; its holds are not recorded",
            group.name
        ))
    })
}
