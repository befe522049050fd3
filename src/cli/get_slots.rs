//! `airlock get slots`: prints the holders of each group, as a table or as JSON.

use jiff::Timestamp;
use serde_json::json;

use super::CliError;
use super::context::{StoreContext, Target};
use super::output::{print, print_json, table};
use crate::lock::GroupState;
use crate::lock::audit::{Action, AuditEntry};
use crate::lock::window::Windows;
use crate::status::{GroupFacts, GroupView};
use crate::text::duration::age;

/// The arguments of `airlock get slots`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print only this reboot group
    group: Option<String>,
    /// Print JSON; docs/reference.md describes it
    #[arg(long)]
    json: bool,
}

const HEADER: [&str; 6] = ["GROUP", "SLOTS", "HELD", "FREE", "HOLDER", "SINCE"];

/// The columns of numbers.
const NUMBERS: [usize; 3] = [1, 2, 3];

/// The maximum width of a column: that of a UUID. With ids of Zincati, a table fits into 80 columns.
const MAX_WIDTH: usize = 36;

/// Runs the command. A damaged value is reported after the groups.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let targets = match &arguments.group {
        Some(group) => vec![context.target(group).await?],
        None => context.configured().collect(),
    };
    let now = Timestamp::now();
    let mut views = Vec::new();
    let mut damaged = None;
    for target in targets {
        let state = context.state(&target).await?;
        if let (Err(reason), None) = (&state.semaphore, &damaged) {
            damaged = Some(context.damaged(&target, reason.clone()));
        }
        views.push(view(&context, &target, &state, now));
    }
    if arguments.json {
        print_json(&json!({ "store": context.location(), "groups": views }))?;
    } else {
        print(context.location())?;
        print("")?;
        print_table(&views)?;
        print_notes(&context, &views, now)?;
    }
    damaged.map_or(Ok(()), Err)
}

fn view(context: &StoreContext, target: &Target, state: &GroupState, now: Timestamp) -> GroupView {
    let settings = context.settings.groups.get(&target.name);
    let always = Windows::default();
    let facts = GroupFacts {
        name: &target.name,
        configured_slots: target.configured_slots,
        state: Some(state),
        windows: settings.map_or(&always, |settings| &settings.windows),
        waiting: None,
    };
    GroupView::new(facts, now)
}

fn print_table(groups: &[GroupView]) -> Result<(), CliError> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(groups.iter().flat_map(rows_of));
    let mut lines = table(rows, &NUMBERS, MAX_WIDTH).into_iter();
    lines.try_for_each(print)
}

/// Returns a row for each holder of a group, and one row for a group without holders.
fn rows_of(group: &GroupView) -> Vec<[String; 6]> {
    let name = group.name.clone();
    let Some(lock) = &group.lock else {
        return vec![[&name, "?", "?", "?", "damaged, see below", ""].map(Into::into)];
    };
    let slots = if lock.paused {
        "paused".into()
    } else {
        lock.slots.to_string()
    };
    let mut holders = lock.holders.iter().map(|holder| {
        let since = match &holder.age {
            Some(age) => format!("{age} ago"),
            None => "unknown".into(),
        };
        (holder.id.clone(), since)
    });
    let (id, since) = holders.next().unwrap_or(("-".into(), String::new()));
    let (held, free) = (lock.held.to_string(), lock.free.to_string());
    let mut rows = vec![[name, slots, held, free, id, since]];
    rows.extend(holders.map(|(id, since)| {
        let empty = String::new;
        [empty(), empty(), empty(), empty(), id, since]
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
    let lock = group.lock.as_ref()?;
    let name = group.name.as_str();
    if lock.paused {
        let is_pause = |entry: &&AuditEntry| entry.action == Action::Pause;
        let by = match group.audit_log.iter().find(is_pause) {
            Some(entry) => format!(" by {} {} ago", entry.by, age(entry.at, now)),
            None => String::new(),
        };
        return Some(format!(
            "{name}: paused{by}; to end the pause: {}",
            context.command_line("resume", &[name])
        ));
    }
    let configured = group
        .configured_slots
        .filter(|slots| *slots != lock.slots)?;
    let slots = if configured == 1 { "slot" } else { "slots" };
    Some(format!(
        "{name}: the configuration has {configured} {slots}; to apply it: {}",
        context.command_line("set slots", &[name, &configured.to_string()])
    ))
}
