//! The status page in a real browser, and its JSON form.

use serde_json::Value;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::browser::Tab;
use airlock_test_support::eventually;

const CONFIG: &str = "[embedded]\npath = \"{folder}/airlock.db\"\n[lock]\ndefault_slots = 4\n\
    [[lock.groups]]\nname = \"workers\"\nslots = 1\n[[lock.groups]]\nname = \"paused\"\n";

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
    let mut tab = Tab::open(&airlock.status_url());
    let page = tab.text("document.documentElement.outerHTML");
    for expected in [
        "<title>(1) paused: paused - Airlock</title>",
        "store available",
        "3 slots held, 3 nodes waiting.",
        "2 of 4",
        "1 of 1",
        "2204af7f41984cb19b8cde4edc06c142",
        "Waiting (2)",
        "<td>all slots held</td>",
        &format!(
            "<code>{}</code>",
            airlock.suggested("unlock workers 5a1f9e0c7d3b4a2e8f6c1b0d9e8f7a6b")
        ),
        "paused</span>",
        "<td>group paused</td>",
        "<td>paused the group</td>",
        &airlock.suggested("resume paused"),
    ] {
        assert!(
            page.contains(expected),
            "{expected} is not on the page: {page}"
        );
    }
    assert_eq!(page.matches("<i></i>").count(), 3, "{page}");
    assert_eq!(page.matches("<i class=\"free\"></i>").count(), 2, "{page}");
}

#[test]
fn client_input_is_rendered_as_text_only() {
    let airlock = busy();
    let mut tab = Tab::open(&airlock.status_url());
    let text = tab.text("document.body.textContent");
    assert!(text.contains("<script>alert(1)</script>"), "{text}");
    let scripts = "document.querySelectorAll('script, [onclick], [onload], [onerror]').length";
    assert_eq!(tab.evaluate(scripts), 1);
    // The policy allows no script and no style but those of the page.
    let ran = "(() => { const script = document.createElement('script'); script.textContent = 'window.ran = true'; \
               document.body.append(script); \
               const style = document.createElement('style'); style.textContent = 'h1 { color: rgb(1, 2, 3) }'; \
               document.body.append(style); \
               return [!!window.ran, getComputedStyle(document.querySelector('h1')).color] })()";
    let ran = tab.evaluate(ran);
    assert_eq!(ran[0], false);
    assert_ne!(ran[1], "rgb(1, 2, 3)");
    assert_ne!(
        tab.text("getComputedStyle(document.querySelector('.list')).borderRadius"),
        "0px",
        "the style of the page is not applied"
    );
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
    for directive in [
        "script-src 'sha256-",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    ] {
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
        page.contains("<title>(1) store unavailable - Airlock</title>"),
        "{page}"
    );
    for expected in [
        "<b>The store is unavailable.</b> Requests are denied until it replies again.",
        "not known yet</span>",
        "The store has not replied about this group yet, so its slots and holders are not known.",
        "no slots known to be held",
        "The state of 1 group is not known yet.",
        "The other servers are not known yet",
    ] {
        assert!(
            page.contains(expected),
            "{expected} is not on the page: {page}"
        );
    }
}

#[test]
fn the_runbook_is_served_and_every_link_of_the_page_into_it_leads_to_a_section() {
    let airlock = busy();
    let response = reqwest::blocking::get(format!("{}/runbook", airlock.status_url())).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    let policy = response.headers()["content-security-policy"].to_str();
    let policy = policy.unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(policy.ends_with("base-uri 'none'; form-action 'none'; frame-ancestors 'none'"));
    assert!(!policy.contains("script-src") && !policy.contains("connect-src"));
    let runbook = response.text().unwrap();
    let (_, page) = airlock.status("/");
    assert!(page.contains("<a href=\"/runbook\">runbook</a>"), "{page}");
    let anchors: Vec<&str> = page.split("\"/runbook#").skip(1).collect();
    assert!(anchors.len() > 3, "{page}");
    for anchor in anchors {
        let anchor = anchor.split('"').next().unwrap();
        let heading = format!(" id=\"{anchor}\">");
        assert!(runbook.contains(&heading), "{anchor} is no section");
    }
}
