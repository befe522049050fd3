//! The permissions of files, for messages: what is missing, and what is too much.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::escape::shell_word;

/// Returns the warning about a secret that every user of this machine can read; `None`: it or one of its folders is
/// protected, or it does not exist.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    // Behind links, as every access is.
    let real = path.canonicalize().ok()?;
    let mode = |path: &Path| Some(std::fs::metadata(path).ok()?.mode());
    let is_closed = |folder: &Path| mode(folder).is_none_or(|mode| mode & 0o001 == 0);
    let own = mode(&real)? & 0o7777;
    if own & 0o007 == 0 || real.ancestors().skip(1).any(is_closed) {
        return None;
    }
    let path = command_path(path);
    Some(format!(
        "every user of this machine can access the secret {path}, which has mode {own:04o}: chmod o= {path}"
    ))
}

/// Quotes a path for a shell command that can be run in any folder.
pub(crate) fn command_path(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    shell_word(&path.to_string_lossy())
}

/// Names the user that this process runs as.
pub(crate) fn current_user() -> String {
    format!("the user with uid {}", rustix::process::geteuid())
}

/// Returns how to let the user of this process read the file at `path`.
pub(crate) fn permission_remedy(path: &Path) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    // If the metadata cannot be read either, one of the folders is closed, and the last one with metadata is that one.
    let closed = path
        .ancestors()
        .find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
    match closed {
        Some((closed, metadata)) => {
            let owner = (metadata.uid(), metadata.gid());
            change_of_mode(closed, metadata.mode(), owner, (uid, gid))
        }
        None => format!("allow the user with uid {uid} to read the file"),
    }
}

/// Returns how to let the user of this process (`user`, uid and gid) read the file or enter the folder at `path`,
/// which has the given mode and `owner`.
fn change_of_mode(path: &Path, mode: u32, owner: (u32, u32), user: (u32, u32)) -> String {
    const FOLDER: u32 = 0o040_000;
    let (uid, gid) = user;
    let path = command_path(path);
    let (needed, letter) = if mode & 0o170_000 == FOLDER {
        (format!("enter the folder {path}"), "x")
    } else {
        ("read the file".to_owned(), "r")
    };
    let change = if uid == owner.0 {
        format!("chmod u+{letter} {path}")
    } else if gid == owner.1 {
        format!("chmod g+{letter} {path}")
    } else {
        format!("chgrp {gid} {path} && chmod g+{letter} {path}")
    };
    format!(
        "the user with uid {uid} and gid {gid} must be able to {needed}, which has mode {:04o}, uid {} and gid {}: \
         {change}",
        mode & 0o7777,
        owner.0,
        owner.1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy_for(mode: u32, owner: (u32, u32)) -> String {
        change_of_mode(Path::new("/etc/a/c.toml"), mode, owner, (997, 996))
    }

    #[test]
    fn the_remedy_for_a_file_names_user_mode_owner_and_command() {
        assert_eq!(
            remedy_for(0o100_600, (0, 0)),
            "the user with uid 997 and gid 996 must be able to read the file, which has mode 0600, uid 0 and \
             gid 0: chgrp 996 /etc/a/c.toml && chmod g+r /etc/a/c.toml"
        );
        let spaced = change_of_mode(Path::new("/a b"), 0o100_600, (0, 996), (997, 996));
        assert!(spaced.ends_with("chmod g+r '/a b'"), "{spaced}");
        assert!(remedy_for(0o100_600, (0, 996)).ends_with("gid 996: chmod g+r /etc/a/c.toml"));
        assert!(remedy_for(0o100_000, (997, 0)).ends_with("gid 0: chmod u+r /etc/a/c.toml"));
    }

    #[test]
    fn the_remedy_for_a_folder_is_the_permission_to_enter_it() {
        assert_eq!(
            remedy_for(0o040_700, (0, 996)),
            "the user with uid 997 and gid 996 must be able to enter the folder /etc/a/c.toml, which has mode 0700, \
             uid 0 and gid 996: chmod g+x /etc/a/c.toml"
        );
    }
}
