//! `airlock get slots`: prints the holders of each group, as a table or as JSON.

use std::io;

use jiff::Timestamp;
use serde_json::json;

use super::CliError;
use super::color;
use super::context::StoreContext;
use super::output::{print, print_json, print_raw, table};
use super::overview::{Overview, address, waiting};
use crate::status::{Condition, GroupView, HolderView};
use crate::text::duration::age;
use crate::text::escape::printable;

/// The arguments of `airlock get slots`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print only this reboot group
    group: Option<String>,
    /// Print JSON; docs/reference.md describes it
    #[arg(long)]
    json: bool,
}

const HEADER: [&str; 9] = [
    "GROUP", "STATE", "SLOTS", "HELD", "WAITING", "HOLDER", "NAME", "ADDRESS", "SINCE",
];

/// The columns of numbers.
const NUMBERS: [usize; 3] = [2, 3, 4];

/// The maximum width of a column: that of a UUID.
const MAX_WIDTH: usize = 36;

/// Runs the command. A damaged value is reported after the groups.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let overview =
        Overview::read(&context, arguments.group.as_deref(), context.store_view()).await?;
    let (views, now) = (overview.view.groups, overview.view.now);
    if arguments.json {
        print_json(&json!({ "store": context.location(), "groups": views }))?;
    } else {
        print(context.location())?;
        print("")?;
        print_table(&views)?;
        print_notes(&context, &views, now)?;
    }
    overview.damaged.map_or(Ok(()), Err)
}

fn print_table(groups: &[GroupView]) -> Result<(), CliError> {
    let holders = groups.iter().flat_map(|group| &group.lock);
    let mut holders = holders.flat_map(|lock| &lock.holders);
    // Without any name, there is no column for them.
    let has_names = holders.any(|holder| holder.name.is_some());
    let header = HEADER.map(|title| match title {
        "NAME" if !has_names => "",
        title => title,
    });
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(groups.iter().flat_map(|group| rows_of(group, has_names)));
    let is_colored = color::are_wanted(&io::stdout());
    let lines = table(rows, &NUMBERS, MAX_WIDTH);
    lines.iter().try_for_each(|line| match printable(line) {
        line if is_colored => print_raw(color::state(&line, groups)),
        line => print_raw(line),
    })
}

/// Returns a row for each holder of a group, and one row for a group without holders.
fn rows_of(group: &GroupView, has_names: bool) -> Vec<[String; 9]> {
    let state = group.state.as_str().to_owned();
    let waiting = waiting(group);
    let Some(lock) = &group.lock else {
        let unknown = || "?".to_owned();
        let none = String::new;
        return vec![[
            group.name.clone(),
            state,
            unknown(),
            unknown(),
            waiting,
            "see below".to_owned(),
            none(),
            none(),
            none(),
        ]];
    };
    let holder = |holder: &HolderView| {
        let since = match &holder.age {
            Some(age) => format!("{age} ago"),
            None => "unknown".into(),
        };
        let name = holder.name.clone();
        let name = name.unwrap_or_else(|| if has_names { "-" } else { "" }.into());
        [holder.id.clone(), name, address(holder.peer), since]
    };
    let mut holders = lock.holders.iter().map(holder);
    let none = || ["-".to_owned(), String::new(), String::new(), String::new()];
    let [id, name, peer, since] = holders.next().unwrap_or_else(none);
    let (slots, held) = (lock.slots.to_string(), lock.held.to_string());
    let group = group.name.clone();
    let mut rows = vec![[group, state, slots, held, waiting, id, name, peer, since]];
    rows.extend(holders.map(|[id, name, peer, since]| {
        let [a, b, c, d, e] = [const { String::new() }; 5];
        [a, b, c, d, e, id, name, peer, since]
    }));
    rows
}

fn print_notes(
    context: &StoreContext,
    groups: &[GroupView],
    now: Timestamp,
) -> Result<(), CliError> {
    let notes = groups.iter().filter_map(|group| note(context, group, now));
    let mut notes = notes.peekable();
    if notes.peek().is_some() {
        print("")?;
    }
    notes.try_for_each(print)
}

/// Explains a group that is paused or has other slots than the configured ones, and names the command that changes
/// that.
fn note(context: &StoreContext, group: &GroupView, now: Timestamp) -> Option<String> {
    let name = group.name.as_str();
    let Some(lock) = &group.lock else {
        let is_unknown = group.state == Condition::Unknown;
        return is_unknown.then(|| format!("{name}: {}", group.detail()));
    };
    if lock.paused {
        let by = match group.paused_by() {
            Some(entry) => format!(" by {} {} ago", entry.by, age(entry.at, now)),
            None => String::new(),
        };
        return Some(format!(
            "{name}: paused{by}; to end the pause: {}",
            context.command_line("resume", &[name])
        ));
    }
    let Some(configured) = group.configured_slots else {
        let config = context.config.display();
        let is_known = context.has_valid_groups;
        return is_known.then(|| format!("{name}: not configured in {config}"));
    };
    if configured == lock.slots {
        return None;
    }
    let slots = if configured == 1 { "slot" } else { "slots" };
    Some(format!(
        "{name}: the configuration has {configured} {slots}; to apply it: {}",
        context.command_line("set slots", &[name, &configured.to_string()])
    ))
}
