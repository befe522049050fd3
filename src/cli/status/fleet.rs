//! The output for the whole fleet: one line for each group.

use super::{policies, rejected};
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::output::{count, table};
use crate::cli::overview::{address, waiting};
use crate::status::{Condition, GroupView, ServerView, StatusView};
use crate::text::duration::age;

/// The maximum width of a column: that of a UUID.
const MAX_WIDTH: usize = 36;

/// Returns the store, the servers, the groups, and the rejected clients, `all` of them if that is wanted.
pub(super) fn lines(context: &StoreContext, view: &StatusView, all: bool) -> Vec<String> {
    let mut rows = vec![["GROUP", "STATE", "HELD", "WAITING", "DETAIL"].map(str::to_owned)];
    rows.extend(view.groups.iter().map(|group| {
        [
            group.name.clone(),
            group.state.as_str().to_owned(),
            held(group),
            waiting(group),
            detail(context, group),
        ]
    }));
    with_table(context, view, table(rows, &[], MAX_WIDTH), all)
}

/// Returns more about each group: its oldest holder, and the node that has waited longest.
pub(super) fn wide_lines(context: &StoreContext, view: &StatusView, all: bool) -> Vec<String> {
    let header = [
        "GROUP",
        "STATE",
        "HELD",
        "OLDEST HOLDER",
        "ADDRESS",
        "HELD SINCE",
        "WAITING",
        "LONGEST WAITING",
        "AT SERVER",
        "WAITING SINCE",
        "DETAIL",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(view.groups.iter().map(|group| {
        let oldest = group.lock.as_ref().and_then(|lock| lock.holders.first());
        let longest = group.waiting.iter().flatten().next();
        let none = || "-".to_owned();
        let since = |at| moment::local(at, view.now);
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
    with_table(context, view, table(rows, &[], MAX_WIDTH), all)
}

fn with_table(
    context: &StoreContext,
    view: &StatusView,
    table: Vec<String>,
    all: bool,
) -> Vec<String> {
    let mut lines = vec![store(context, view)];
    lines.extend(
        view.store
            .problem
            .iter()
            .map(|problem| format!("  problem: {problem}")),
    );
    lines.extend(
        view.store
            .notices
            .iter()
            .map(|notice| format!("  warning: {notice}")),
    );
    lines.push(match &view.servers {
        None => "servers: not known".to_owned(),
        Some(servers) => describe_servers(servers, view),
    });
    let problem = view.reload_problem.iter();
    lines.extend(problem.map(|problem| format!("configuration: {problem}")));
    lines.push(String::new());
    lines.extend(table);
    if view.groups.iter().any(|group| group.needs_attention) {
        let status = context.command_line("status", &["GROUP"]);
        lines.push(String::new());
        lines.push(format!(
            "The holders of a group, its waiting nodes, and what to do: {status}"
        ));
    }
    lines.extend(policies::lines(view));
    let rejected = rejected::lines(&view.denials, all, view.more_denials, view.now);
    if !rejected.is_empty() {
        lines.extend([String::new(), "Rejected clients:".to_owned()]);
        lines.extend(rejected.into_iter().map(|line| format!("  {line}")));
    }
    lines
}

/// Describes the store in one line.
fn store(context: &StoreContext, view: &StatusView) -> String {
    let mut parts = vec![context.location()];
    if let Some(etcd) = &view.store.etcd {
        parts.extend(etcd.cluster_id.as_ref().map(|id| format!("cluster {id}")));
        parts.push(match etcd.configured {
            1 if etcd.replied == 1 => "replies".to_owned(),
            endpoints => format!("{} of {} reply", etcd.replied, count(endpoints, "endpoint")),
        });
    }
    parts.push(match view.store.writable {
        true => "accepts writes".to_owned(),
        false => "refuses writes".to_owned(),
    });
    parts.join(", ")
}

/// Describes the servers in one line.
fn describe_servers(servers: &[ServerView], view: &StatusView) -> String {
    let describe = |server: &ServerView| {
        let host = &server.label;
        match server.last_seen.filter(|_| !server.alive) {
            Some(at) => format!("{host} (last seen {} ago)", age(at, view.now)),
            None if server.configuration_differs => format!("{host} (configuration differs)"),
            None => host.clone(),
        }
    };
    let (alive, lost): (Vec<&ServerView>, Vec<&ServerView>) =
        servers.iter().partition(|server| server.alive);
    let listed = |servers: &[&ServerView]| {
        let servers = servers.iter().map(|server| describe(server));
        servers.collect::<Vec<_>>().join(", ")
    };
    let running = match alive.len() {
        0 if lost.is_empty() => "no running server has published itself in the store".to_owned(),
        0 => "no running server".to_owned(),
        number => format!("{}: {}", count(number, "server"), listed(&alive)),
    };
    match lost.is_empty() {
        true => running,
        false => format!("{running}; lost: {}", listed(&lost)),
    }
}

/// Returns the number of held slots, and of all.
fn held(group: &GroupView) -> String {
    match &group.lock {
        Some(lock) => format!("{}/{}", lock.held, lock.slots),
        None => "?".to_owned(),
    }
}

/// Describes the state, with the command that ends it, and names the other conditions that a person may not expect.
fn detail(context: &StoreContext, group: &GroupView) -> String {
    let mut text = group.detail().to_owned();
    if matches!(group.state, Condition::Paused | Condition::SlotsDiffer) {
        text.push_str(&context.remedy(group, group.state));
    }
    for condition in group.conditions.iter().skip(1) {
        if *condition < Condition::Full {
            text = format!("{text}; also {}", condition.as_str());
        }
    }
    text
}
