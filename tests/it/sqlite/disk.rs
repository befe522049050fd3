//! A full disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use airlock_test_support::airlock::airlock;
use airlock_test_support::eventually;

use super::Place;

/// Fills the disk.
const FILL: &str = "dd if=/dev/zero of=\"$0\"/filler bs=1k 2>/dev/null";

const FULL: &[&str] = &["the disk is full; free some space"];

/// Returns a command that starts the server in a new mount namespace, where the file's folder is a disk of
/// `kilobytes`.
fn on_a_disk_of(kilobytes: usize, place: &Place, before: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size={kilobytes}k tmpfs \"$0\" || exit 99; {before}; exec \"$@\""
    );
    command
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .arg(&place.data)
        .arg(airlock().get_program())
        .args(["serve", "-vv", "--config"])
        .arg(place.config());
    command
}

#[test]
fn a_full_disk_is_reported_at_startup() {
    let place = Place::new();
    place.check(&place.refusal(on_a_disk_of(64, &place, FILL)), FULL);
}

#[test]
fn a_filesystem_in_memory_is_reported_at_startup() {
    let place = Place::new();
    // The server ends, because the filesystem is full.
    let output = on_a_disk_of(64, &place, FILL).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let warning = log.lines().find(|line| line.contains("check=filesystem"));
    let warning = warning.unwrap_or_else(|| panic!("{log}"));
    assert!(
        warning.contains("is tmpfs, which is in memory"),
        "{warning}"
    );
}

#[test]
fn a_full_disk_is_reported_loses_no_lock_and_recovers_with_free_space() {
    let place = Place::new();
    let server = place.start(on_a_disk_of(512, &place, ":"));
    let client = server.client();
    let inside = format!("/proc/{}/root{}", server.0.id(), place.data.display());
    let filler = Path::new(&inside).join("filler");
    assert!(client.lock("default", "first").granted());
    let fill = || {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(&filler)
            .unwrap();
        while filler.write_all(&[1; 1024]).is_ok() {}
    };
    fill();
    let mut granted = vec!["first".to_owned()];
    let mut lock_another = || {
        let id = format!("n{}", granted.len());
        let answer = client.lock("default", &id);
        if answer.granted() {
            granted.push(id);
        }
        answer
    };
    let refused = eventually("the disk to be full", || {
        Some(lock_another()).filter(|answer| !answer.granted())
    });
    assert_eq!((refused.status, &*refused.kind()), (500, "failed_sem_init"));
    place.check(&refused.value(), FULL);
    // A request that writes nothing needs no space.
    assert!(client.lock("default", "first").granted());
    // Reads succeed, and yet the server is not healthy. A checkpoint frees the space of the write-ahead log.
    eventually("the server to be unready", || {
        fill();
        let (status, text) = server.status("/readyz");
        let is_unready = status == 503 && text.contains("refused writes");
        let (_, page) = server.status("/");
        let is_shown = page.contains("store refuses writes");
        let is_writable = server.metric("airlock_store_writable") != 0.0;
        (!lock_another().granted() && is_unready && is_shown && !is_writable).then_some(())
    });

    fs::remove_file(&filler).unwrap();
    eventually("the next lock", || {
        client.lock("default", "next").granted().then_some(())
    });
    granted.push("next".into());
    eventually("the holders", || {
        (server.holders() == granted.len() as f64).then_some(())
    });
    assert_eq!(server.status("/readyz").0, 200);
    assert_eq!(server.metric("airlock_store_writable"), 1.0);
}
