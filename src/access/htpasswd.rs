//! The htpasswd file: a line a user, `name:hash`, the hashes bcrypt's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Above, one password takes seconds to verify.
const MOST_COST: u32 = 14;

/// What cannot be the hash of any password, but for a cost takes the time of one.
const NO_HASH: &str = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";

/// The users and the hashes of their passwords.
#[derive(Debug)]
pub struct Users {
    hashes: HashMap<String, Arc<str>>,
    /// What a password is compared with that somebody gives for a user who does not exist. It is as
    /// costly as the costliest of the file, so that time does not tell who exists.
    decoy: Arc<str>,
}

/// Why the file cannot be used. It names the file and the line, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        problem: &'static str,
    },
    #[error(
        "{}: has no user in it; add one with `htpasswd -B {} NAME`", path.display(), path.display()
    )]
    Empty { path: PathBuf },
}

// === impl Users ===

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read, a line is no user with a bcrypt hash, or there is no user.
    pub fn read(path: &Path) -> Result<Self, HtpasswdError> {
        let text = std::fs::read_to_string(path).map_err(|source| HtpasswdError::Read {
            path: path.to_owned(),
            source,
        })?;
        Users::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, HtpasswdError> {
        let mut hashes = HashMap::new();
        let mut most_cost = 0;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |problem| HtpasswdError::Line {
                path: path.to_owned(),
                line: index + 1,
                problem,
            };
            let (user, hash) = line
                .split_once(':')
                .ok_or_else(|| failed("is not name:hash; write it with `htpasswd -B`"))?;
            if user.is_empty() {
                return Err(failed("has no user's name before the ':'"));
            }
            most_cost = most_cost.max(cost(hash).map_err(failed)?);
            if hashes.insert(user.to_owned(), hash.into()).is_some() {
                return Err(failed("names a user that an earlier line has; remove one"));
            }
        }
        if hashes.is_empty() {
            let path = path.to_owned();
            return Err(HtpasswdError::Empty { path });
        }
        Ok(Users {
            hashes,
            decoy: format!("$2b${most_cost:02}${NO_HASH}").into(),
        })
    }

    /// The hash to compare with, and whether there is such a user.
    pub fn hash(&self, user: &str) -> (Arc<str>, bool) {
        match self.hashes.get(user) {
            Some(hash) => (Arc::clone(hash), true),
            None => (Arc::clone(&self.decoy), false),
        }
    }

    pub fn contains(&self, user: &str) -> bool {
        self.hashes.contains_key(user)
    }
}

/// The cost of a bcrypt hash that can be verified.
fn cost(hash: &str) -> Result<u32, &'static str> {
    if !["$2y$", "$2a$", "$2b$"]
        .iter()
        .any(|scheme| hash.starts_with(scheme))
    {
        return Err(
            "its password is not hashed with bcrypt ($2y$, $2a$, $2b$), the one scheme \
                    that is accepted; write it with `htpasswd -B`",
        );
    }
    let parts: bcrypt::HashParts = hash
        .parse()
        .map_err(|_| "its bcrypt hash is damaged; write it again with `htpasswd -B`")?;
    match parts.get_cost() {
        0..4 => Err("the cost of its bcrypt hash is below 4, which no program writes"),
        4..=MOST_COST => Ok(parts.get_cost()),
        _ => Err(
            "the cost of its bcrypt hash is above 14, so that each login would take seconds; \
                  write it again with `htpasswd -B -C 10`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::mutated;
    use proptest::prelude::*;

    /// Written by Apache's htpasswd 2.4: `htpasswd -nbB -C 4 node secret`.
    const NODE: &str = "node:$2y$04$kC25psE3.MZvHIBLLVHJROLe/l/tLd.7AIvVRmTZew1kMAIqhDPl6";

    fn problem(text: &str) -> String {
        Users::parse(Path::new("/p"), text).unwrap_err().to_string()
    }

    #[test]
    fn what_htpasswd_writes_is_read_and_verified_in_all_three_spellings() {
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
    fn an_unknown_user_is_compared_at_the_cost_of_the_costliest() {
        let costly = NODE.replace("node:$2y$04", "other:$2y$06");
        let users = Users::parse(Path::new("/p"), &format!("{NODE}\n{costly}")).unwrap();
        let (hash, exists) = users.hash("nobody");
        assert!(!exists);
        assert_eq!(cost(&hash), Ok(6));
        assert!(!bcrypt::verify("secret", &hash).unwrap());
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_and_not_shown() {
        for (line, expected) in [
            ("node", "is not name:hash"),
            (":$2y$04$x", "has no user's name"),
            ("node:$apr1$Zx8dYZ1C$SECRET", "is not hashed with bcrypt"),
            ("node:{SHA}SECRET", "is not hashed with bcrypt"),
            ("node:SECRET", "is not hashed with bcrypt"),
            ("node:$2x$SECRET", "is not hashed with bcrypt"),
            ("node:$2y$04$SECRET", "is damaged"),
            (&NODE.replace("$04$", "$03$"), "is below 4"),
            (&NODE.replace("$04$", "$15$"), "is above 14"),
            (NODE, "names a user that an earlier line has"),
        ] {
            let text = format!("{NODE}\n{line}\n");
            let problem = problem(&text);
            assert!(problem.starts_with("/p:2: "), "{problem}");
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("SECRET"), "{problem}");
        }
        assert!(
            problem("# nobody\n").contains("has no user in it; add one with `htpasswd -B /p NAME`")
        );
    }

    const FILES: &[&str] = &[NODE, "# nodes\n\na:$2y$04$x\n", "a:{SHA}x\r\nb:\n"];

    proptest! {
        #[test]
        fn any_text_is_users_or_an_error_that_shows_nothing_of_a_hash(text in mutated(FILES)) {
            match Users::parse(Path::new("/p"), &text) {
                Ok(users) => prop_assert!(!users.hashes.is_empty()),
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(error.starts_with("/p:"), "{}", error);
                    prop_assert!(!error.contains("kC25psE3") && !error.contains("lTd.7AIv"));
                    prop_assert_eq!(error.lines().count(), 1);
                }
            }
        }
    }
}
