//! The names of nodes: a file with a line `ID NAME` for each node, which is reloaded when it changes.

use std::collections::HashMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::file::{self, FileError};
use crate::lock::{InvalidNodeId, NodeId, code_point, is_control_or_format};
use crate::reloadable::{Reload, ReloadError};
use crate::text::escape::quoted_start;
use crate::text::explain::Remedy;

/// The maximum number of characters of a name.
const MAX_NAME: usize = 64;

/// The maximum number of unusable lines that an error contains.
const MAX_LINES: usize = 20;

/// The maximum number of characters of a value in a message.
const MAX_SHOWN: usize = 64;

/// The names of nodes by their ids. The default has no file and no names.
#[derive(Default)]
pub(crate) struct NodeNames {
    path: Option<PathBuf>,
    table: RwLock<Table>,
}

/// The lines of a file. A line takes up 8 bytes besides its id and its name.
#[derive(Default)]
struct Table {
    /// All ids, each followed by its name.
    text: Box<str>,
    /// Sorted by id.
    entries: Box<[Entry]>,
}

/// The place of an id and a name in the text.
#[derive(Clone, Copy)]
struct Entry {
    /// The first byte; a file has at most 8 MiB.
    start: u32,
    /// The bytes of the id, at most 253.
    id: u8,
    /// The bytes of the name, at most four for each character.
    name: u16,
}

/// The reason why a file of names cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeNamesError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("{}", lines_text(path, .lines, *.more))]
    Lines {
        path: PathBuf,
        /// The first unusable lines with their problems, in order. Never empty.
        lines: Vec<(usize, LineProblem)>,
        /// The number of further ones.
        more: usize,
    },
}

/// The reason why a line cannot be used, with its remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineProblem {
    #[error("the id {id} is not followed by a name; write a name behind it, or remove the line")]
    NoName { id: String },
    #[error("{id} cannot be the id of a node: {reason}; correct the id, or remove the line")]
    Id { id: String, reason: InvalidNodeId },
    #[error("the name {name} {problem}")]
    Name { name: String, problem: InvalidName },
    #[error("the id {id} is the same as on line {first}; remove one of the two lines")]
    Repeated { id: String, first: usize },
}

/// The reason why a text cannot be a name, with its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidName {
    #[error("has {0} characters; shorten it to {MAX_NAME}")]
    TooLong(usize),
    #[error("contains the control or format character {}; remove the character", code_point(*.0))]
    ControlOrFormat(char),
}

/// Splits a line at its first white space into an id and a name, which is empty if there is only an id. `None`: the line
/// is empty or a comment.
pub(crate) fn id_and_name(line: &str) -> Option<(&str, &str)> {
    // Some editors begin a file with a byte order mark.
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (id, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    Some((id, name.trim_start()))
}

/// Verifies that a text that is not empty can be a name.
///
/// # Errors
/// If it has more than 64 characters, or one of them is a control or format character.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidName> {
    let length = name.chars().count();
    if length > MAX_NAME {
        return Err(InvalidName::TooLong(length));
    }
    match name.chars().find(|c| is_control_or_format(*c)) {
        Some(found) => Err(InvalidName::ControlOrFormat(found)),
        None => Ok(()),
    }
}

/// Quotes a value for a message.
pub(crate) fn shown(text: &str) -> String {
    quoted_start(text, MAX_SHOWN)
}

// === impl NodeNames ===

impl NodeNames {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or a line of it cannot be used.
    pub(crate) fn load(path: PathBuf) -> Result<Self, NodeNamesError> {
        let text = file::read_text(&path)?;
        NodeNames::parse(path, &text)
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// If a line cannot be used.
    pub(crate) fn parse(path: PathBuf, text: &str) -> Result<Self, NodeNamesError> {
        Ok(NodeNames {
            table: RwLock::new(Table::parse(&path, text)?),
            path: Some(path),
        })
    }

    /// Returns the name of the node with this id.
    pub(crate) fn name(&self, id: &str) -> Option<Arc<str>> {
        // Without a file, no request waits for the lock.
        self.path.as_ref()?;
        self.table.read().name(id).map(Arc::from)
    }
}

impl Reload for NodeNames {
    fn what(&self) -> String {
        "service.node_names_path".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.path.iter().cloned().collect()
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn reload(&self) -> Result<(), ReloadError> {
        if let Some(path) = &self.path {
            let new = Table::parse(path, &file::read_text(path)?)?;
            // The old table is freed after the lock is.
            let _old = mem::replace(&mut *self.table.write(), new);
        }
        Ok(())
    }
}

// === impl NodeNamesError ===

impl Remedy for NodeNamesError {
    fn remedy(&self) -> Option<String> {
        match self {
            NodeNamesError::Read(error) => error.remedy(),
            // The problem of each line contains it.
            NodeNamesError::Lines { .. } => None,
        }
    }
}

fn lines_text(path: &Path, lines: &[(usize, LineProblem)], more: usize) -> String {
    let texts = lines.iter();
    let texts = texts.map(|(line, problem)| format!("{}:{line}: {problem}", path.display()));
    let mut texts: Vec<String> = texts.collect();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

// === impl Table ===

impl Table {
    fn parse(path: &Path, text: &str) -> Result<Self, NodeNamesError> {
        let mut table = String::with_capacity(text.len());
        let mut entries = Vec::new();
        let mut lines_of = HashMap::new();
        let (mut unusable, mut more) = (Vec::new(), 0);
        for (line, entry) in (1..).zip(text.lines()) {
            let Some((id, name)) = id_and_name(entry) else {
                continue;
            };
            match check_line(id, name, lines_of.insert(id, line)) {
                Ok(()) => {
                    entries.push(Entry {
                        start: table.len() as u32,
                        id: id.len() as u8,
                        name: name.len() as u16,
                    });
                    table.push_str(id);
                    table.push_str(name);
                }
                Err(problem) if unusable.len() < MAX_LINES => unusable.push((line, problem)),
                Err(_) => more += 1,
            }
        }
        if !unusable.is_empty() {
            return Err(NodeNamesError::Lines {
                path: path.to_owned(),
                lines: unusable,
                more,
            });
        }
        entries.sort_unstable_by_key(|entry| entry.id(&table));
        Ok(Table {
            text: table.into(),
            entries: entries.into(),
        })
    }

    fn name(&self, id: &str) -> Option<&str> {
        let found = self
            .entries
            .binary_search_by_key(&id, |entry| entry.id(&self.text));
        Some(self.entries[found.ok()?].name(&self.text))
    }
}

/// Verifies the id and the name of a line. An earlier line has the same id if `first` is its number.
fn check_line(id: &str, name: &str, first: Option<usize>) -> Result<(), LineProblem> {
    if let Err(reason) = id.parse::<NodeId>() {
        let id = shown(id);
        return Err(LineProblem::Id { id, reason });
    }
    if let Some(first) = first {
        let id = shown(id);
        return Err(LineProblem::Repeated { id, first });
    }
    if name.is_empty() {
        let id = shown(id);
        return Err(LineProblem::NoName { id });
    }
    check_name(name).map_err(|problem| {
        let name = shown(name);
        LineProblem::Name { name, problem }
    })
}

// === impl Entry ===

impl Entry {
    fn id<'t>(&self, text: &'t str) -> &'t str {
        let start = self.start as usize;
        &text[start..start + usize::from(self.id)]
    }

    fn name<'t>(&self, text: &'t str) -> &'t str {
        let start = self.start as usize + usize::from(self.id);
        &text[start..start + usize::from(self.name)]
    }
}

#[cfg(test)]
mod tests;
