//! The completions of a shell: besides commands and options, the groups and nodes of the store.
//!
//! The script that `airlock completions` prints runs this program again at each completion, with [`VARIABLE`] in its
//! environment. An error of any kind only means fewer completions: a prompt is no place for messages.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::CliError;
use super::context::{self, StoreContext};
use super::needs::{self, Needs};
use super::nodes::nodes;
use super::overview::{Overview, all_targets};
use super::{environment, help};
use crate::config;
use crate::text::escape::{printable, shell_word};

/// The variable of the environment that names the shell. It has a name that no server is started with by accident.
const VARIABLE: &str = "AIRLOCK_COMPLETE";

/// The time for which the store is asked. A person waits for it.
const LIMIT: Duration = Duration::from_millis(800);

/// A value, and what it means if that is known.
type Candidate = (String, Option<String>);

/// The values that an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// The groups.
    Groups,
    /// The ids of the holders of the group on the command line.
    Holders,
    /// The ids and names of the nodes that hold or held a slot, or wait for one.
    Nodes,
    /// The groups, and the same nodes.
    GroupsAndNodes,
    /// The gates.
    Gates,
}

/// The part of the command line that says where to find the values.
#[derive(Clone, Debug)]
struct Line {
    config: PathBuf,
    group: Option<String>,
}

/// Prints the completions if a shell has started this process for them. `None`: it has not.
pub(super) fn respond() -> Option<ExitCode> {
    let arguments: Vec<OsString> = env::args_os().collect();
    let words = arguments.iter().skip_while(|word| *word != "--").skip(1);
    let words: Vec<OsString> = words.cloned().collect();
    let folder = env::current_dir().ok();
    let environment =
        CompleteEnv::with_factory(|| with_candidates(help::command(), &Line::parse(&words)));
    match environment
        .var(VARIABLE)
        .try_complete(arguments, folder.as_deref())
    {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Returns the script that makes a shell ask this program for completions; `None` for an unknown shell.
pub(super) fn script(shell: &str) -> Option<String> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(shell)?;
    completer
        .write_registration(VARIABLE, "airlock", "airlock", "airlock", &mut script)
        .ok()?;
    let mut script = String::from_utf8_lossy(&script).trim().to_owned();
    if shell == "zsh" {
        // As a file `_airlock` in `fpath`, the script is called for the first completion.
        script.push_str(
            "\n[[ \"$funcstack[1]\" != _airlock ]] || _clap_dynamic_completer_airlock \"$@\"",
        );
    }
    Some(script)
}

/// Returns the definition of a command, in which the arguments know their values.
fn with_candidates(command: Command, line: &Line) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|argument| match wanted(&name, argument.get_id().as_str()) {
        Some(wanted) => {
            let line = line.clone();
            argument.add(ArgValueCandidates::new(move || candidates(&line, wanted)))
        }
        None => argument,
    });
    command.mut_subcommands(|command| with_candidates(command, line))
}

/// Returns the values that an argument of a command takes; `None`: not those of the store.
fn wanted(command: &str, argument: &str) -> Option<Wanted> {
    match (command, argument) {
        // A node has no configuration.
        ("pre-reboot" | "steady-state", _) => None,
        (_, "group") => Some(Wanted::Groups),
        ("gates", "gate") => Some(Wanted::Gates),
        ("unlock", "id") => Some(Wanted::Holders),
        ("history", "node") => Some(Wanted::Nodes),
        ("status", "subject") => Some(Wanted::GroupsAndNodes),
        _ => None,
    }
}

/// Returns the values of an argument, as far as they are known in time.
fn candidates(line: &Line, wanted: Wanted) -> Vec<CompletionCandidate> {
    let deadline = Instant::now() + LIMIT;
    let (sender, found) = mpsc::channel();
    let line = line.clone();
    // A file or a store that does not reply keeps the thread, which ends with the process.
    let reader = thread::Builder::new().spawn(move || {
        let _ = context::block_on(send_candidates(&line, wanted, &sender));
    });
    let mut candidates = Vec::new();
    let mut known = BTreeSet::new();
    while reader.is_ok()
        && let Ok((value, meaning)) =
            found.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        if is_plain(&value) && known.insert(value.clone()) {
            let meaning = meaning.map(|meaning| printable(&meaning).into_owned().into());
            candidates.push(CompletionCandidate::new(value).help(meaning));
        }
    }
    candidates
}

/// Reports whether a shell reads a value as it is, and a command not as an option. bash inserts completions without
/// quotes, and a client can choose any id: it must not become a command.
fn is_plain(value: &str) -> bool {
    !value.starts_with('-') && shell_word(value) == value
}

/// Sends the values of an argument, those that are known without the store first.
async fn send_candidates(
    line: &Line,
    wanted: Wanted,
    sender: &Sender<Candidate>,
) -> Result<(), CliError> {
    // The receiver may have given up.
    let send = |value: &str, meaning: Option<&str>| {
        let _ = sender.send((value.to_owned(), meaning.map(str::to_owned)));
    };
    let usable = needs::usable(config::check(&line.config), Needs::Store)?;
    let loaded = &usable.loaded;
    if wanted == Wanted::Gates {
        let gates = loaded.settings.gates.iter();
        gates.for_each(|gate| send(&gate.settings.name, None));
        return Ok(());
    }
    let offers_groups = matches!(wanted, Wanted::Groups | Wanted::GroupsAndNodes);
    if offers_groups {
        loaded
            .settings
            .groups
            .keys()
            .for_each(|group| send(group.as_str(), None));
    }
    let context = StoreContext::open(usable, &line.config)?;
    if offers_groups {
        let groups = all_targets(&context).await;
        groups
            .iter()
            .for_each(|group| send(group.name.as_str(), None));
    }
    if wanted == Wanted::Groups {
        return Ok(());
    }
    let group = line
        .group
        .as_deref()
        .filter(|_| wanted != Wanted::GroupsAndNodes);
    if wanted == Wanted::Holders && group.is_none() {
        return Ok(());
    }
    let view = Overview::read(&context, group, context.store_view())
        .await?
        .view;
    for group in &view.groups {
        if wanted == Wanted::Holders {
            let holders = group.lock.iter().flat_map(|lock| &lock.holders);
            holders.for_each(|holder| send(&holder.id, holder.name.as_deref()));
            continue;
        }
        for node in nodes(group) {
            send(node.id, node.name);
            if let Some(name) = node.name {
                send(name, Some(node.id));
            }
        }
    }
    Ok(())
}

// === impl Line ===

impl Line {
    /// Reads the words of a command line, as far as they make sense.
    fn parse(words: &[OsString]) -> Self {
        let matches = environment::without_empty(help::command())
            .ignore_errors(true)
            .try_get_matches_from(joined(words));
        let mut found = matches.ok();
        let (mut config, mut group) = (None, None);
        while let Some(matches) = found {
            let path = matches.try_get_one::<PathBuf>("config").ok().flatten();
            config = path.cloned().or(config);
            let name = matches.try_get_one::<String>("group").ok().flatten();
            group = name.cloned().or(group);
            found = matches.subcommand().map(|(_, matches)| matches.clone());
        }
        Line {
            config: config.unwrap_or_else(config::default_path),
            group,
        }
    }
}

/// Returns words as a command gets them: a shell passes those of its prompt with their quotes, and bash splits them at `=`.
fn joined(words: &[OsString]) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut continues = false;
    for word in words {
        let is_equals = word == "=";
        match joined.last_mut() {
            Some(last) if is_equals || continues => last.push(unquoted(word)),
            _ => joined.push(unquoted(word)),
        }
        continues = is_equals;
    }
    joined
}

/// Removes quotes, and replaces `~`.
fn unquoted(word: &OsStr) -> OsString {
    let Some(text) = word.to_str() else {
        return word.to_owned();
    };
    let text = text.replace(['\'', '"', '\\'], "");
    match (text.strip_prefix("~/"), env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest).into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> (String, Option<String>) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let line = Line::parse(&words);
        (line.config.display().to_string(), line.group)
    }

    #[test]
    fn the_configuration_and_the_group_are_found_in_an_unfinished_line() {
        let found = |config: &str, group: Option<&str>| (config.into(), group.map(str::to_owned));
        for (words, config, group) in [
            (&["airlock", ""][..], config::DEFAULT_PATH, None),
            (
                &[
                    "airlock",
                    "-c",
                    "'/my files/c.toml'",
                    "unlock",
                    "workers",
                    "",
                ],
                "/my files/c.toml",
                Some("workers"),
            ),
            (
                &[
                    "airlock", "unlock", "--yes", "workers", "22", "--config", "=", "c",
                ],
                "c",
                Some("workers"),
            ),
            (
                &["airlock", "history", "workers", "--config=c", "--node", ""],
                "c",
                Some("workers"),
            ),
            (
                &["airlock", "get", "slots", "-c", "c", "wor"],
                "c",
                Some("wor"),
            ),
            (&["airlock", "unlock", "-c"], config::DEFAULT_PATH, None),
            (
                &["airlock", "unlok", "workers", "x"],
                config::DEFAULT_PATH,
                None,
            ),
        ] {
            assert_eq!(parse(words), found(config, group), "{words:?}");
        }
    }

    #[test]
    fn a_value_that_a_shell_would_not_read_as_it_is_is_not_offered() {
        for plain in ["2204af7f41984cb19b8cde4edc06c142", "node-1.example:22"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "",
            "a b",
            "$(reboot)",
            ";reboot",
            "*",
            "-y",
            "a\u{202e}b",
            "é",
        ] {
            assert!(!is_plain(other), "{other:?}");
        }
    }
}
