//! `airlock status`: answers why nodes are not updating, for the fleet, a group, or a node.

mod fleet;
mod group;
mod node;
mod policies;
mod rejected;
mod store;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::ValueEnum;
use tokio::time;

use super::CliError;
use super::color;
use super::context::StoreContext;
use super::output::print_raw;
use super::overview::Overview;
use crate::status::{DenialView, GroupView};
use crate::text::escape::{escaped_json, printable};
use crate::text::explain::chain;

/// The interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Clears a terminal, and moves to its beginning.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// The arguments of `airlock status`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A reboot group, or the id, name or address of a node; all groups without one
    #[arg(value_name = "GROUP|NODE")]
    subject: Option<String>,
    /// Format of the output
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// List all rejected clients, and of a group all waiting nodes and completed holds
    #[arg(long)]
    all: bool,
    /// Print again every 5 seconds, until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// One line for each group
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON; docs/reference.md describes it
    Json,
    /// The names of the groups
    Name,
}

/// Runs the command.
///
/// # Errors
/// [`CliError::NeedsAttention`] if a person should look at a group, the store, the servers, the rejected clients, or the
/// configuration.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    if !arguments.watch {
        return once(&context, arguments).await?.print("");
    }
    let is_text = !matches!(arguments.output, Format::Json | Format::Name);
    let clear = match is_text && io::stdout().is_terminal() {
        true => CLEAR,
        false => "",
    };
    loop {
        // The screen keeps the last state until there is a new one.
        let result = match once(&context, arguments).await {
            Ok(report) => report.print(clear),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) | Err(CliError::NeedsAttention) => {}
            Err(error @ (CliError::Store { .. } | CliError::UnknownSubject { .. })) => {
                tracing::error!("{}", chain(&error));
            }
            Err(error) => return Err(error),
        }
        time::sleep(WATCH_INTERVAL).await;
    }
}

/// What the command prints.
struct Report {
    lines: Vec<String>,
    /// The groups of which the states are colored.
    groups: Vec<GroupView>,
    needs_attention: bool,
}

// === impl Report ===

impl Report {
    /// Prints the lines, after `clear`.
    fn print(self, clear: &str) -> Result<(), CliError> {
        let is_colored = color::are_wanted(&io::stdout());
        let lines = self.lines.iter().map(|line| match printable(line) {
            line if is_colored => match color::label(&line) {
                Cow::Borrowed(line) => color::state(line, &self.groups).into_owned(),
                Cow::Owned(line) => line,
            },
            line => line.into_owned(),
        });
        if !self.lines.is_empty() {
            print_raw(format!("{clear}{}", lines.collect::<Vec<_>>().join("\n")))?;
        }
        match self.needs_attention {
            true => Err(CliError::NeedsAttention),
            false => Ok(()),
        }
    }
}

async fn once(context: &StoreContext, arguments: &Arguments) -> Result<Report, CliError> {
    let subject = arguments.subject.as_deref();
    let group = match subject {
        Some(name) if context.is_group(name).await? => Some(name),
        Some(_) | None => None,
    };
    let store = store::store_view(context).await;
    let mut view = Overview::read(context, group, store).await?.view;
    let node = subject.filter(|_| group.is_none());
    if let Some(node) = node {
        view.groups.retain(|group| node::concerns(group, node));
        view.denials.retain(|client| node::is_client(client, node));
        if view.groups.is_empty() && view.denials.is_empty() {
            return Err(context.unknown_subject(node));
        }
    }
    view.groups.sort_by_key(|group| {
        let is_normal = !group.needs_attention;
        (is_normal, group.state, group.name.clone())
    });
    if let Some(group) = group {
        let is_of_group = |client: &DenialView| client.group.as_deref() == Some(group);
        view.denials.retain(is_of_group);
    }
    if subject.is_some() {
        view.retain_policies_of_groups();
        let groups = view.groups.iter().any(|group| group.needs_attention);
        let clients = view.denials.iter().any(|client| client.needs_attention);
        view.needs_attention = groups || clients || view.reload_problem.is_some();
    }
    let lines = match (arguments.output, group, node) {
        (Format::Json, ..) => {
            let json = serde_json::to_string(&view).unwrap_or_default();
            vec![escaped_json(&json).into_owned()]
        }
        (Format::Name, ..) => view.groups.iter().map(|group| group.name.clone()).collect(),
        (Format::Table | Format::Wide, Some(_), _) => group::lines(context, &view, arguments.all),
        (Format::Table | Format::Wide, None, Some(node)) => node::lines(context, &view, node),
        (Format::Wide, None, None) => fleet::wide_lines(context, &view, arguments.all),
        (Format::Table, None, None) => fleet::lines(context, &view, arguments.all),
    };
    let is_text = matches!(arguments.output, Format::Table | Format::Wide);
    Ok(Report {
        lines,
        groups: view.groups.into_iter().filter(|_| is_text).collect(),
        needs_attention: view.needs_attention,
    })
}
