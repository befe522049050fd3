//! The output for the whole fleet: one line for each group.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::CliError;
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::output::{count, print, table};
use crate::cli::overview::{Overview, address, waiting};
use crate::status::{Condition, DenialView, GroupView, ServerView};
use crate::text::duration::age;

/// The maximum number of addresses in a line.
const MAX_ADDRESSES: usize = 8;

/// The maximum width of a column: that of a UUID.
const MAX_WIDTH: usize = 36;

/// Prints the store, the servers, and the groups.
pub(super) fn print_fleet(context: &StoreContext, overview: &Overview) -> Result<(), CliError> {
    print_head(context, overview)?;
    let mut rows = vec![["GROUP", "STATE", "HELD", "WAITING", "DETAIL"].map(str::to_owned)];
    rows.extend(overview.groups.iter().map(|group| {
        [
            group.name.clone(),
            group.state.as_str().to_owned(),
            held(group),
            waiting(group),
            detail(context, group),
        ]
    }));
    print_table(rows)?;
    print_rejected(&overview.denials)
}

/// Prints the rejected clients, those with the same reason together.
fn print_rejected(denials: &[DenialView]) -> Result<(), CliError> {
    let mut by_reason: BTreeMap<String, Vec<&DenialView>> = BTreeMap::new();
    for denial in denials {
        by_reason.entry(denial.text()).or_default().push(denial);
    }
    if by_reason.is_empty() {
        return Ok(());
    }
    print("")?;
    print("Rejected clients:")?;
    for (reason, clients) in by_reason {
        let listed = clients.iter().take(MAX_ADDRESSES);
        let listed: Vec<String> = listed.map(|client| client.peer.to_string()).collect();
        let more = match clients.len().saturating_sub(MAX_ADDRESSES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let servers: BTreeSet<&str> = clients.iter().map(|client| &*client.server).collect();
        let servers: Vec<&str> = servers.into_iter().collect();
        let (addresses, servers) = (listed.join(", "), servers.join(", "));
        print(format_args!("  {addresses}{more} at {servers}: {reason}"))?;
    }
    Ok(())
}

/// Prints more about each group: its oldest holder, and the node that has waited longest.
pub(super) fn print_wide(context: &StoreContext, overview: &Overview) -> Result<(), CliError> {
    print_head(context, overview)?;
    let header = [
        "GROUP",
        "STATE",
        "HELD",
        "OLDEST HOLDER",
        "ADDRESS",
        "SINCE",
        "WAITING",
        "LONGEST WAITING",
        "AT SERVER",
        "SINCE",
        "DETAIL",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(overview.groups.iter().map(|group| {
        let oldest = group.lock.as_ref().and_then(|lock| lock.holders.first());
        let longest = group.waiting.iter().flatten().next();
        let none = || "-".to_owned();
        let since = |at| moment::local(at, overview.now);
        [
            group.name.clone(),
            group.state.as_str().to_owned(),
            held(group),
            oldest.map_or_else(none, |holder| holder.node().to_owned()),
            address(oldest.and_then(|holder| holder.peer)),
            oldest
                .and_then(|holder| holder.since)
                .map_or_else(none, since),
            waiting(group),
            longest.map_or_else(none, |waiter| waiter.node().to_owned()),
            longest.map_or_else(none, |waiter| waiter.server.clone()),
            longest.map_or_else(none, |waiter| since(waiter.first_asked)),
            detail(context, group),
        ]
    }));
    print_table(rows)?;
    print_rejected(&overview.denials)
}

fn print_table<const N: usize>(rows: Vec<[String; N]>) -> Result<(), CliError> {
    print("")?;
    let mut lines = table(rows, &[], MAX_WIDTH).into_iter();
    lines.try_for_each(print)
}

fn print_head(context: &StoreContext, overview: &Overview) -> Result<(), CliError> {
    print(context.location())?;
    print(match &overview.servers {
        None => "servers: not known".to_owned(),
        Some(servers) => describe_servers(servers, overview),
    })
}

/// Describes the servers in one line.
fn describe_servers(servers: &[ServerView], overview: &Overview) -> String {
    let alive = servers.iter().filter(|server| server.alive);
    let describe = |server: &ServerView| {
        let host = &server.label;
        match (server.alive, server.last_seen) {
            (true, _) if server.configuration_differs => format!("{host} (configuration differs)"),
            (true, _) => host.clone(),
            (false, Some(at)) => format!("{host} (lost {} ago)", age(at, overview.now)),
            (false, None) => format!("{host} (lost)"),
        }
    };
    match servers {
        [] => "no server runs".to_owned(),
        servers => {
            let listed: Vec<String> = servers.iter().map(describe).collect();
            format!("{}: {}", count(alive.count(), "server"), listed.join(", "))
        }
    }
}

/// Returns the number of held slots, and of all.
fn held(group: &GroupView) -> String {
    match &group.lock {
        Some(lock) => format!("{}/{}", lock.held, lock.slots),
        None => "?".to_owned(),
    }
}

fn detail(context: &StoreContext, group: &GroupView) -> String {
    match group.state {
        Condition::Paused | Condition::SlotsDiffer => {
            format!("{}{}", group.detail, context.remedy(group))
        }
        _ => group.detail.clone(),
    }
}
