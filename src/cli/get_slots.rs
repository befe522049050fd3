//! `airlock get slots`: prints the holders of each group, as a table or as JSON.

use jiff::Timestamp;
use serde_json::json;

use super::CliError;
use super::context::{StoreContext, Target};
use super::output::{print, print_raw};
use crate::lock::audit::{Action, AuditEntry};
use crate::lock::window::Windows;
use crate::lock::{GroupState, NodeId};
use crate::status::{GroupFacts, GroupView};
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

const HEADER: [&str; 6] = ["GROUP", "SLOTS", "HELD", "FREE", "HOLDER", "SINCE"];

/// The maximum width of a column: the maximum length of an id that a server accepts. Another program may have stored a
/// longer one, and `format!` panics for a width above 65,535.
const MAX_WIDTH: usize = NodeId::MAX_BYTES;

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
        print_raw(json!({ "store": context.location(), "groups": views }))?;
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
        waiters: None,
    };
    GroupView::new(&facts, now)
}

fn print_table(groups: &[GroupView]) -> Result<(), CliError> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(groups.iter().flat_map(rows_of));
    for row in &mut rows {
        *row = std::array::from_fn(|column| printable(&row[column]).into_owned());
    }
    let widths: [usize; 6] = std::array::from_fn(|column| width(&rows, column));
    for [group, slots, held, free, holder, since] in &rows {
        let line = format!(
            "{group:<0$}  {slots:>1$}  {held:>2$}  {free:>3$}  {holder:<4$}  {since}",
            widths[0], widths[1], widths[2], widths[3], widths[4],
        );
        print(line.trim_end())?;
    }
    Ok(())
}

/// Returns the width of a column. A cell of more than [`MAX_WIDTH`] characters does not widen it.
fn width(rows: &[[String; 6]], column: usize) -> usize {
    let lengths = rows.iter().map(|row| row[column].chars().count());
    let usual = lengths.filter(|length| *length <= MAX_WIDTH);
    usual.max().unwrap_or(0)
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
        let since = match (holder.since, &holder.age) {
            (Some(since), Some(age)) => format!("{since:.0} ({age} ago)"),
            _ => "unknown".into(),
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
