//! Reads the file, and explains why it cannot be read.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::diagnostic::Diagnostics;

/// Returns the text of the file. `None`: the file cannot be read, which is an error.
pub(super) fn text(diagnostics: &mut Diagnostics, path: &Path) -> Option<String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = remedy(path, &error);
            let text = format!("cannot read the configuration: {error}; {remedy}");
            diagnostics.error_at(None, "", text);
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            let text = "the line is not valid UTF-8; save the file with that encoding";
            diagnostics.error_at(Some(line), "", text);
            None
        }
    }
}

fn remedy(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return "name the file with -c/--config".into();
    }
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    // If the metadata cannot be read either, one of the folders is closed, and the last one with metadata is that one.
    let closed = path
        .ancestors()
        .find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
    match closed {
        Some((closed, metadata)) => {
            let owner = (metadata.uid(), metadata.gid());
            permission_remedy(closed, metadata.mode(), owner, (uid, gid))
        }
        None => format!("allow the user with uid {uid} to read the file"),
    }
}

/// Returns how to let the user of this process (`user`, uid and gid) read the file or enter the folder at `path`,
/// which has the given mode and `owner`.
fn permission_remedy(path: &Path, mode: u32, owner: (u32, u32), user: (u32, u32)) -> String {
    const FOLDER: u32 = 0o040_000;
    let (uid, gid) = user;
    let path = path.display();
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
        permission_remedy(Path::new("/etc/a/c.toml"), mode, owner, (997, 996))
    }

    #[test]
    fn the_remedy_for_a_file_names_user_mode_owner_and_command() {
        assert_eq!(
            remedy_for(0o100_600, (0, 0)),
            "the user with uid 997 and gid 996 must be able to read the file, which has mode 0600, uid 0 and \
             gid 0: chgrp 996 /etc/a/c.toml && chmod g+r /etc/a/c.toml"
        );
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
