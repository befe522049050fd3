//! The htpasswd file: one user per line as `name:hash`, with bcrypt hashes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::{self, FileError};
use crate::text::explain::Remedy;
use crate::text::permission::command_path;

/// The maximum cost of a hash. Above it, verifying one password takes seconds.
const MAX_COST: u32 = 14;

/// The minimum cost of a hash, which bcrypt defines.
const MIN_COST: u32 = 4;

/// A salt and a digest that match no password.
const DECOY: &str = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";

/// The users of an htpasswd file.
#[derive(Debug)]
pub(crate) struct Users {
    hashes: HashMap<String, Arc<str>>,
    /// The hash that a password for an unknown user is verified against. It has the highest cost in the file, so that
    /// the duration does not reveal which users exist.
    decoy: Arc<str>,
}

/// The reason why the file cannot be used. The message names the file and the line, and never shows their content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HtpasswdError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("{}", lines_text(path, .lines))]
    Lines {
        path: PathBuf,
        /// All unusable lines with their problems, in order. Never empty.
        lines: Vec<(usize, LineProblem)>,
    },
    #[error("{}: contains no user", path.display())]
    Empty { path: PathBuf },
}

/// The reason why a line of the file cannot be used, with its remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineProblem {
    #[error("the line is not name:hash; write it with `htpasswd -B`")]
    NoHash,
    #[error("the user name before the ':' is missing; write the line with `htpasswd -B`")]
    NoName,
    #[error(
        "the line contains a NUL; save the file as UTF-8 text without NUL, or write the line again with `htpasswd -B`"
    )]
    Nul,
    #[error("the user is the same as on line {first}; remove one of the two lines")]
    Duplicate { first: usize },
    #[error(
        "the password is not hashed with bcrypt ($2y$, $2a$ or $2b$), the only supported scheme; write the line with \
         `htpasswd -B`"
    )]
    UnsupportedScheme,
    #[error("the bcrypt hash is malformed; write the line again with `htpasswd -B`")]
    MalformedHash,
    #[error(
        "the cost of the bcrypt hash is {0}, below the minimum of {MIN_COST}; write the line again with `htpasswd -B`"
    )]
    CostTooLow(u32),
    #[error(
        "the cost of the bcrypt hash is {0}, above the maximum of {MAX_COST}: each login would take seconds; write \
         the line again with `htpasswd -B -C 10`"
    )]
    CostTooHigh(u32),
}

// === impl HtpasswdError ===

impl Remedy for HtpasswdError {
    fn remedy(&self) -> Option<String> {
        match self {
            HtpasswdError::Read(error) => error.remedy(),
            // The problem of each line contains it.
            HtpasswdError::Lines { .. } => None,
            HtpasswdError::Empty { path } => Some(format!(
                "add one with `htpasswd -B {} NAME`",
                command_path(path)
            )),
        }
    }
}

// === impl Users ===

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// If the file cannot be read, a line is not a user with a bcrypt hash, or there is no user.
    pub(super) fn read(path: &Path) -> Result<Self, HtpasswdError> {
        Users::parse(path, &file::read_text(path)?)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, HtpasswdError> {
        let mut hashes = HashMap::new();
        let mut lines = HashMap::new();
        let mut max_cost = MIN_COST;
        let mut unusable = Vec::new();
        for (line, entry) in (1..).zip(text.lines()) {
            // Some editors begin a file with a byte order mark.
            let entry = entry.trim_start_matches('\u{feff}').trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let checked = user_and_hash(entry).and_then(|(user, hash)| {
                let cost = cost(hash)?;
                match lines.insert(user, line) {
                    Some(first) => Err(LineProblem::Duplicate { first }),
                    None => Ok((user, hash, cost)),
                }
            });
            match checked {
                Ok((user, hash, cost)) => {
                    max_cost = max_cost.max(cost);
                    hashes.insert(user.to_owned(), hash.into());
                }
                Err(problem) => unusable.push((line, problem)),
            }
        }
        if !unusable.is_empty() {
            return Err(HtpasswdError::Lines {
                path: path.to_owned(),
                lines: unusable,
            });
        }
        if hashes.is_empty() {
            let path = path.to_owned();
            return Err(HtpasswdError::Empty { path });
        }
        Ok(Users {
            hashes,
            decoy: format!("$2b${max_cost:02}${DECOY}").into(),
        })
    }

    /// Returns the hash to verify a password against, and whether the user exists.
    pub(crate) fn hash(&self, user: &str) -> (Arc<str>, bool) {
        match self.hashes.get(user) {
            Some(hash) => (Arc::clone(hash), true),
            None => (Arc::clone(&self.decoy), false),
        }
    }

    /// Reports whether the user exists.
    pub(super) fn contains(&self, user: &str) -> bool {
        self.hashes.contains_key(user)
    }
}

fn lines_text(path: &Path, lines: &[(usize, LineProblem)]) -> String {
    const MAX_LISTED: usize = 10;
    let listed = lines.iter().take(MAX_LISTED);
    let listed = listed.map(|(line, problem)| format!("{}:{line}: {problem}", path.display()));
    let mut texts: Vec<String> = listed.collect();
    if lines.len() > MAX_LISTED {
        texts.push(format!("and {} more lines", lines.len() - MAX_LISTED));
    }
    texts.join("; ")
}

fn user_and_hash(entry: &str) -> Result<(&str, &str), LineProblem> {
    if entry.contains('\0') {
        return Err(LineProblem::Nul);
    }
    match entry.split_once(':') {
        None => Err(LineProblem::NoHash),
        Some(("", _)) => Err(LineProblem::NoName),
        Some(user_and_hash) => Ok(user_and_hash),
    }
}

/// Returns the cost of a bcrypt hash.
fn cost(hash: &str) -> Result<u32, LineProblem> {
    let schemes = ["$2y$", "$2a$", "$2b$"];
    if !schemes.iter().any(|scheme| hash.starts_with(scheme)) {
        return Err(LineProblem::UnsupportedScheme);
    }
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| LineProblem::MalformedHash)?;
    match parts.get_cost() {
        cost @ ..MIN_COST => Err(LineProblem::CostTooLow(cost)),
        cost @ MIN_COST..=MAX_COST => Ok(cost),
        cost => Err(LineProblem::CostTooHigh(cost)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;
    use crate::testing::mutated;
    use crate::text::explain::explain;
    use proptest::prelude::*;

    /// Generated by Apache's htpasswd 2.4: `htpasswd -nbB -C 4 node secret`.
    const NODE: &str = "node:$2y$04$kC25psE3.MZvHIBLLVHJROLe/l/tLd.7AIvVRmTZew1kMAIqhDPl6";

    fn problem(text: &str) -> String {
        explain(&Users::parse(Path::new("/p"), text).unwrap_err())
    }

    #[test]
    fn hashes_of_htpasswd_are_accepted_with_all_three_prefixes() {
        for scheme in ["$2y$", "$2a$", "$2b$"] {
            let text = format!("# nodes\n\n{}\r\n", NODE.replace("$2y$", scheme));
            let users = Users::parse(Path::new("/p"), &text).unwrap();
            let (hash, exists) = users.hash("node");
            assert!(exists);
            assert!(bcrypt::verify("secret", &hash).unwrap(), "{scheme}");
            assert!(!bcrypt::verify("Secret", &hash).unwrap());
        }
    }

    #[test]
    fn a_byte_order_mark_is_part_of_no_user() {
        // The second one comes from a file that was appended to another.
        let other = NODE.replace("node:", "other:");
        let text = format!("\u{feff}{NODE}\n\u{feff}# more\n\u{feff}{other}\n");
        let users = Users::parse(Path::new("/p"), &text).unwrap();
        assert!(users.contains("node") && users.contains("other"));
        assert_eq!(users.hashes.len(), 2);
    }

    #[test]
    fn the_hash_for_an_unknown_user_has_the_highest_cost_in_the_file() {
        let costly = NODE.replace("node:$2y$04", "other:$2y$06");
        let users = Users::parse(Path::new("/p"), &format!("{NODE}\n{costly}")).unwrap();
        let (hash, exists) = users.hash("unknown");
        assert!(!exists);
        assert_eq!(cost(&hash), Ok(6));
        assert!(!bcrypt::verify("secret", &hash).unwrap());
    }

    #[test]
    fn an_unusable_line_is_named_by_its_number_and_not_shown() {
        for (line, expected) in [
            ("node", "the line is not name:hash; "),
            (":$2y$04$x", "the user name before the ':' is missing"),
            ("node:$apr1$Zx8dYZ1C$SECRET", "is not hashed with bcrypt"),
            ("node:{SHA}SECRET", "is not hashed with bcrypt"),
            ("node:SECRET", "is not hashed with bcrypt"),
            ("node:$2x$SECRET", "is not hashed with bcrypt"),
            ("node:$2y$04$SECRET", "is malformed"),
            ("no\0de:$2y$04$SECRET", "the line contains a NUL; "),
            (&format!("{NODE}\0"), "the line contains a NUL; "),
            ("\0", "the line contains a NUL; "),
            (
                &NODE.replace("$04$", "$03$"),
                "is 3, below the minimum of 4",
            ),
            (
                &NODE.replace("$04$", "$15$"),
                "is 15, above the maximum of 14",
            ),
            (NODE, "the user is the same as on line 1"),
        ] {
            let text = format!("{NODE}\n{line}\n");
            let problem = problem(&text);
            assert!(problem.starts_with("/p:2: "), "{problem}");
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("SECRET"), "{problem}");
        }
        assert_eq!(
            problem("a\n\nb\n")
                .matches(": the line is not name:hash")
                .count(),
            2
        );
        let many = problem(&"a\n".repeat(12));
        assert!(many.ends_with("; and 2 more lines"), "{many}");
        assert!(
            problem("# nodes\n").contains("contains no user; add one with `htpasswd -B /p NAME`")
        );
    }

    const FILES: &[&str] = &[NODE, "# nodes\n\na:$2y$04$x\n", "a:{SHA}x\r\nb:\n"];

    proptest! {
        #[test]
        fn an_error_for_any_text_shows_no_part_of_a_hash(text in mutated(FILES)) {
            fuzzing::htpasswd(text.as_bytes());
        }
    }
}
