//! `airlock status`: answers why nodes are not updating, for the fleet, a group, or a node.

mod fleet;
mod group;
mod node;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use tokio::time;

use super::CliError;
use super::context::StoreContext;
use super::output::{print, print_json, print_raw};
use super::overview::Overview;
use crate::status::DenialView;

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
    /// List all waiting nodes and completed holds of a group
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
/// [`CliError::NeedsAttention`] if a person should look at a group or at the servers.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    if !arguments.watch {
        return once(&context, arguments).await;
    }
    let clears = io::stdout().is_terminal();
    loop {
        if clears {
            print_raw(CLEAR)?;
        }
        match once(&context, arguments).await {
            Ok(()) | Err(CliError::NeedsAttention) => {}
            Err(error @ CliError::Store { .. }) => tracing::error!("{error}"),
            Err(error) => return Err(error),
        }
        time::sleep(WATCH_INTERVAL).await;
        if !clears {
            print("")?;
        }
    }
}

async fn once(context: &StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let subject = arguments.subject.as_deref();
    let group = match subject {
        Some(name) if context.is_group(name).await? => Some(name),
        Some(_) | None => None,
    };
    let mut overview = Overview::read(context, group).await?;
    match (group, subject) {
        (None, Some(node)) => {
            overview.groups.retain(|group| node::concerns(group, node));
            if overview.groups.is_empty() {
                return Err(context.unknown_subject(node));
            }
        }
        _ => overview.groups.sort_by_key(|group| {
            let is_normal = !group.needs_attention;
            (is_normal, group.state, group.name.clone())
        }),
    }
    match (arguments.output, group, subject) {
        (Format::Json, ..) => print_json(&json!({
            "now": overview.now,
            "store": context.location(),
            "servers": overview.servers,
            "groups": overview.groups,
            "denials": overview.denials,
        }))?,
        (Format::Name, ..) => {
            let mut names = overview.groups.iter().map(|group| &group.name);
            names.try_for_each(print)?;
        }
        (Format::Table | Format::Wide, Some(_), _) => {
            for view in &overview.groups {
                group::print_group(context, view, arguments.all, overview.now)?;
            }
        }
        (Format::Table | Format::Wide, None, Some(node)) => {
            node::print_node(context, &overview, node)?;
        }
        (Format::Wide, None, None) => fleet::print_wide(context, &overview)?,
        (Format::Table, None, None) => fleet::print_fleet(context, &overview)?,
    }
    match needs_attention(&overview, subject.is_none()) {
        true => Err(CliError::NeedsAttention),
        false => Ok(()),
    }
}

/// Reports whether a person should look at one of the groups, or with `is_fleet` at the servers or the rejected clients.
fn needs_attention(overview: &Overview, is_fleet: bool) -> bool {
    let mut servers = overview.servers.iter().flatten();
    let groups = overview.groups.iter().any(|group| group.needs_attention);
    if !is_fleet {
        return groups;
    }
    groups
        || overview.denials.iter().any(DenialView::concerns_nodes)
        || servers.any(|server| !server.alive || server.configuration_differs)
}
