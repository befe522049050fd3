//! The status page in a real browser, and its JSON form.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::eventually;

const CONFIG: &str = "[embedded]\npath = \"{folder}/airlock.db\"\n[lock]\ndefault_slots = 4\n\
    [[lock.groups]]\nname = \"workers\"\nslots = 1\n[[lock.groups]]\nname = \"paused\"\n";

/// Returns the DOM of a page after Chromium has rendered it.
fn browse(url: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .args(more)
        .args(["--dump-dom", url])
        .output()
        .expect("chromium cannot be started; `make setup` installs what is missing");
    String::from_utf8(output.stdout).unwrap()
}

/// Starts a server with holders, waiting nodes and a paused group.
fn busy() -> Airlock {
    let airlock = Airlock::start(CONFIG);
    let client = airlock.client();
    for id in [
        "2204af7f41984cb19b8cde4edc06c142",
        "9d0b7ce5c2a54b6fb0dc1d4f5a3e2b11",
    ] {
        assert!(client.lock("default", id).granted());
    }
    assert!(
        client
            .lock("workers", "5a1f9e0c7d3b4a2e8f6c1b0d9e8f7a6b")
            .granted()
    );
    for id in [
        "77aa0e2f9b1c4d5e8f9a0b1c2d3e4f50",
        "<script>alert(1)</script>",
    ] {
        assert!(!client.lock("workers", id).granted());
    }
    let paused = airlock.command(&["pause", "paused", "--yes"]);
    assert!(paused.status.success(), "{paused:?}");
    assert!(!client.lock("paused", "waiting").granted());
    airlock
}

#[test]
fn the_page_shows_holders_and_waiting_nodes() {
    let airlock = busy();
    let page = browse(&airlock.status_url(), &[]);
    for expected in [
        "<title>Airlock: 3 held, 3 waiting</title>",
        "store available",
        "2 of 4 held",
        "1 of 1 held",
        "2204af7f41984cb19b8cde4edc06c142",
        "Waiting (2)",
        "all slots held, at ",
        &format!(
            "<code>{}</code>",
            airlock.suggested("unlock workers 5a1f9e0c7d3b4a2e8f6c1b0d9e8f7a6b")
        ),
        "paused</span>",
        "group paused, at ",
        "Last change by an administrator: ",
        " paused the group, ",
    ] {
        assert!(
            page.contains(expected),
            "{expected} is not on the page: {page}"
        );
    }
    assert_eq!(page.matches("class=\"slot held\"").count(), 3, "{page}");
    assert_eq!(page.matches("class=\"slot\"").count(), 2, "{page}");
}

#[test]
fn client_input_is_rendered_as_text_only() {
    let airlock = busy();
    let page = browse(&airlock.status_url(), &[]);
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
    // A client's input does not become an option of the suggested command either.
    let client = airlock.client();
    for id in [
        "2204af7f41984cb19b8cde4edc06c142",
        "9d0b7ce5c2a54b6fb0dc1d4f5a3e2b11",
    ] {
        assert!(client.unlock("default", id).granted());
    }
    assert!(client.lock("default", "--held-longer-than=1s").granted());
    let response = reqwest::blocking::get(airlock.status_url()).unwrap();
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for directive in ["base-uri 'none'", "form-action 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    let command = airlock.suggested("unlock -- default '--held-longer-than=1s'");
    // A page is shown for up to a second after it was rendered.
    let text = eventually("the page to show the holder", || {
        let (_, text) = airlock.status("/");
        text.contains(&command).then_some(text)
    });
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!text.contains(outside), "{outside} is on the page");
    }
}

#[test]
fn a_phone_shows_the_page_without_horizontal_scrolling() {
    let airlock = busy();
    let width = "<script>document.title=document.documentElement.scrollWidth</script>";
    // The page must not run scripts, so a script in a copy of it measures the width.
    let html = reqwest::blocking::get(airlock.status_url())
        .unwrap()
        .text()
        .unwrap();
    let copy = airlock.folder().join("copy.html");
    std::fs::write(&copy, html.replace("</body>", &format!("{width}</body>"))).unwrap();
    // A headless window is at least 500 pixels wide.
    let page = browse(&file_url(&copy), &["--window-size=500,900"]);
    let title = page
        .split("<title>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    assert!(title.parse::<u32>().unwrap() <= 500, "{title} pixels wide");
}

#[test]
fn the_same_state_is_available_as_json() {
    let airlock = busy();
    let (status, text) = airlock.status("/v1/status");
    assert_eq!(status, 200);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["store"]["up"], true);
    let groups = json["groups"].as_array().unwrap();
    let names: Vec<&Value> = groups.iter().map(|group| &group["name"]).collect();
    assert_eq!(names, ["default", "paused", "workers"]);
    assert_eq!(groups[0]["lock"]["free"], 2);
    assert_eq!(groups[1]["lock"]["paused"], true);
    assert_eq!(groups[1]["audit_log"][0]["action"], "pause");
    assert_eq!(groups[2]["waiting_count"], 2);
    assert_eq!(groups[2]["waiting"][0]["reason"], "all slots held");
    assert_eq!(groups[2]["windows"]["open"], true);
}

#[test]
fn an_unreachable_store_is_shown_first() {
    let airlock = Airlock::start("[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\n");
    let (status, page) = airlock.status("/");
    assert_eq!(status, 200);
    assert!(page.contains("store unavailable"), "{page}");
    assert!(
        page.contains("Unknown: the store has not replied about this group yet."),
        "{page}"
    );
    assert!(page.contains("no slots known to be held"), "{page}");
    assert!(
        page.contains("The state of 1 group is not known yet."),
        "{page}"
    );
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}
