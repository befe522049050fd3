//! The status page in Chromium: with and without scripts, in each color scheme, narrow, and large. The pictures of it
//! are in target/tmp/.

mod night;
mod policies;

use std::fs;

use jiff::Timestamp;
use serde_json::json;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::browser::Tab;
use airlock_test_support::proxy::{Network, Proxy};
use airlock_test_support::{eventually, repository};
use night::{ORDER, id, night, put};
use policies::{POLICIES, policies};

/// Takes a picture of the whole page. The browser does not render groups that are out of view, which the page permits, and
/// a picture would not have them either; the policy of the page allows this way of adding a style.
fn take_picture(tab: &mut Tab, name: &str) {
    tab.evaluate(
        "document.adoptedStyleSheets = [new CSSStyleSheet()]; \
         document.adoptedStyleSheets[0].replaceSync('.group { content-visibility: visible !important }')",
    );
    let file = format!("target/tmp/status-{name}.png");
    tab.screenshot(&repository().join(file));
}

/// Lets the page refresh itself now.
fn refresh(tab: &mut Tab) {
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
}

fn wait_until(tab: &mut Tab, what: &str, expression: &str) {
    eventually(what, || (tab.evaluate(expression) == true).then_some(()));
}

/// Asserts that axe-core finds nothing.
fn assert_accessible(tab: &mut Tab) {
    let axe = repository().join("target/tools/axe-core/axe.min.js");
    let axe = fs::read_to_string(axe).expect("axe-core is missing; `make setup` installs it");
    tab.evaluate(&format!("{axe};0"));
    let violations = "axe.run().then(({violations}) => violations.map(({id, nodes}) => \
                      id + ': ' + nodes.map(({html, any}) => html + ' ' + any.map(a => a.message)).join('\\n')).join('\\n'))";
    assert_eq!(tab.text(violations), "");
}

fn open_everything(tab: &mut Tab) {
    tab.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)");
}

#[test]
fn the_page_is_accessible_in_each_color_scheme_and_fits_into_390_pixels() {
    let (_etcd, airlock) = night();
    let looks = [
        ("light", 1280, false),
        ("dark", 1280, true),
        ("narrow", 390, false),
        ("narrow-dark", 390, true),
    ];
    assert_looks(&airlock, &looks);
}

#[test]
fn groups_with_every_policy_are_accessible_and_fit_into_390_pixels() {
    let (_etcd, airlock) = policies();
    let looks = [
        ("policies-light", 1280, false),
        ("policies-narrow-dark", 390, true),
    ];
    assert_looks(&airlock, &looks);
    let mut tab = Tab::open(&airlock.status_url());
    let states = "[...document.querySelectorAll('.group')].map((row) => row.dataset.key + ': ' + \
                  row.querySelector('.chip').textContent).join('\\n')";
    assert_eq!(tab.text(states), POLICIES.join("\n"));
    let reasons = "[...document.querySelectorAll('[data-key=databases] .reasons li')].length";
    assert_eq!(tab.evaluate(reasons), 5);
}

/// Takes pictures of the page, and checks it, as it is at first and with everything open. A look has a name, a width, and
/// whether it is dark.
fn assert_looks(airlock: &Airlock, looks: &[(&str, u32, bool)]) {
    let url = airlock.status_url();
    for &(name, width, dark) in looks {
        let mut tab = Tab::new(width);
        if dark {
            tab.prefer_dark();
        }
        tab.navigate(&url);
        wait_until(
            &mut tab,
            "the state",
            "!document.title.includes('not known')",
        );
        take_picture(&mut tab, name);
        let back = tab.text("getComputedStyle(document.body).backgroundColor");
        let expected = if dark {
            "rgb(15, 19, 24)"
        } else {
            "rgb(245, 246, 248)"
        };
        assert_eq!(back, expected);
        assert_accessible(&mut tab);
        open_everything(&mut tab);
        take_picture(&mut tab, &format!("{name}-open"));
        let scroll = tab.evaluate("document.documentElement.scrollWidth");
        assert!(scroll.as_u64().unwrap() <= width.into(), "{name}: {scroll}");
        assert_accessible(&mut tab);
    }
}

#[test]
fn what_needs_attention_comes_first_and_the_title_and_the_headline_name_the_worst() {
    let (_etcd, airlock) = night();
    let mut tab = Tab::open(&airlock.status_url());
    let names =
        "[...document.querySelectorAll('.group > summary > b')].map((b) => b.textContent).join()";
    assert_eq!(tab.text(names), ORDER.join(","));
    assert_eq!(tab.text("document.title"), "(4) storage: damaged - Airlock");
    let headline = tab.text("document.querySelector('.headline').textContent");
    assert!(headline.starts_with("storage: damaged, "), "{headline}");
    let page = tab.text("document.body.innerText");
    assert!(page.contains("100 of 100"), "{page}");
    let open = tab.text(
        "[...document.querySelectorAll('.group[open]')].map((row) => row.dataset.key).join()",
    );
    assert_eq!(open, "storage");
}

#[test]
fn a_link_of_a_row_leads_to_its_section_of_the_runbook() {
    let (_etcd, airlock) = night();
    for (name, width, dark) in [
        ("light", 1280, false),
        ("dark", 1280, true),
        ("narrow", 390, false),
    ] {
        let mut tab = Tab::new(width);
        if dark {
            tab.prefer_dark();
        }
        tab.navigate(&airlock.status_url());
        tab.evaluate("document.querySelector('[data-key=gpu]').open = true");
        tab.evaluate("setTimeout(() => document.querySelector('[data-key=gpu] .runbook').click())");
        tab.wait_for_reload();
        let at = "location.pathname + location.hash + ' ' + document.querySelector(':target').textContent";
        assert_eq!(tab.text(at), "/runbook#a-group-is-paused A group is paused");
        let top = "document.querySelector(':target').getBoundingClientRect().top";
        let top = tab.evaluate(top).as_f64().unwrap();
        assert!((-1.0..900.0).contains(&top), "{top}");
        assert_eq!(
            tab.text("getComputedStyle(document.body).maxWidth"),
            "832px"
        );
        assert_accessible(&mut tab);
        take_picture(&mut tab, &format!("runbook-{name}"));
        let scroll = tab.evaluate("document.documentElement.scrollWidth");
        assert!(scroll.as_u64().unwrap() <= width.into(), "{name}: {scroll}");
    }
}

#[test]
fn a_server_that_is_gone_shows_in_the_title_the_icon_and_the_headline_until_it_is_back() {
    let (_etcd, airlock) = night();
    let proxy = Proxy::to(&airlock.status_url());
    let mut tab = Tab::open(&proxy.endpoint());
    let shown = "[document.title, document.querySelector('link').href, \
                 getComputedStyle(document.querySelector('.headline')).filter].join('\\n')";
    let before = tab.text(shown);
    assert!(before.ends_with("\nnone"), "{before}");
    proxy.set(Network::Cut);
    refresh(&mut tab);
    wait_until(
        &mut tab,
        "the title",
        "document.title === '(!) no response - Airlock'",
    );
    let gone = tab.text(shown);
    assert!(gone.ends_with("\ngrayscale(1)"), "{gone}");
    let bad = tab.text("document.querySelector('link').dataset.bad");
    assert!(gone.contains(&bad), "{gone}");
    proxy.set(Network::Works);
    refresh(&mut tab);
    wait_until(
        &mut tab,
        "the previous title",
        "document.title !== '(!) no response - Airlock'",
    );
    assert_eq!(tab.text(shown), before);
    assert_eq!(tab.evaluate("document.querySelector('.note').hidden"), true);
}

#[test]
fn a_problem_is_announced_without_its_age_and_each_button_names_its_command() {
    let (etcd, airlock) = night();
    etcd.put(
        "com.coreos.airlock/groups/storage/v1/semaphore",
        "{\"total_slots\":1,\"holders\":[]}",
    );
    let headline = "workers: db-worker-7 has held the only slot for 2 h 5 min";
    eventually("the server to know", || {
        let (_, page) = airlock.status("/");
        page.contains(headline).then_some(())
    });
    let mut tab = Tab::open(&airlock.status_url());
    let announced = "document.querySelector('[role=status]').textContent";
    assert_eq!(
        tab.text(announced),
        "workers: overdue. 2 more groups need attention."
    );
    let names =
        "[...document.querySelectorAll('.copy')].map((button) => button.ariaLabel).join('\\n')";
    let names = tab.text(names);
    let unlock = airlock.suggested(&format!("unlock workers {}", id(7)));
    assert!(names.contains(&format!("Copy {unlock}\n")), "{names}");
}

#[test]
fn the_row_of_a_group_is_found_by_its_link_with_and_without_scripts() {
    let (_etcd, airlock) = night();
    for scripts in [true, false] {
        let mut tab = Tab::new(1280);
        if !scripts {
            tab.disable_scripts();
        }
        tab.navigate(&format!("{}/#100%20slots", airlock.status_url()));
        let open = "document.querySelector('[data-key=\"100 slots\"]').open";
        wait_until(&mut tab, "the row to be open", open);
        tab.navigate(&format!("{}/#workers", airlock.status_url()));
        wait_until(
            &mut tab,
            "the row to be in view",
            "document.querySelector('[data-key=workers]').open && \
             Math.abs(document.querySelector('[data-key=workers]').getBoundingClientRect().top) < 400",
        );
    }
}

#[test]
fn a_refresh_keeps_open_rows_focus_filter_and_scroll_position_and_waits_for_a_selection() {
    let (etcd, airlock) = night();
    let mut tab = Tab::open(&airlock.status_url());
    tab.evaluate("document.querySelector('[data-key=workers] > summary').click()");
    tab.evaluate("document.querySelector('[data-key=storage] > summary').click()");
    tab.evaluate("document.querySelector('[data-key=workers] .more > summary').click()");
    tab.evaluate("document.querySelector('input').focus()");
    tab.type_text("DB-WORKER");
    let shown = "[...document.querySelectorAll('.group:not([hidden])')].map((row) => row.dataset.key).join()";
    assert_eq!(tab.text(shown), "workers,ingress,gpu,100 slots,web");
    assert_eq!(
        tab.text("document.querySelector('output:not(.note)').textContent"),
        "5 of 8 groups"
    );
    tab.evaluate("document.querySelector('button[value=attention]').click()");
    assert_eq!(tab.text(shown), "workers,ingress,gpu");
    tab.evaluate("document.querySelector('[data-key=workers] .copy').focus(); scrollTo(0, 50)");
    tab.evaluate("window.before = document.activeElement; getSelection().selectAllChildren(document.querySelector('h1'))");

    put(&etcd, "web", 7, &json!({}), &json!([]));
    put(&etcd, "ingress", 2, &json!({}), &json!([]));
    eventually("the server to know", || {
        let (_, page) = airlock.status("/");
        page.contains("0 of 7").then_some(())
    });
    let note = "document.querySelector('.note').textContent";
    refresh(&mut tab);
    wait_until(
        &mut tab,
        "the note",
        &format!("{note}.includes('while text is selected')"),
    );
    assert_eq!(tab.text("getSelection().toString()"), "Airlock");
    tab.evaluate("getSelection().removeAllRanges()");
    refresh(&mut tab);
    wait_until(
        &mut tab,
        "the refresh",
        "document.body.innerText.includes('0 of 7') || document.body.textContent.includes('0 of 7')",
    );

    // The order has changed, and with it what the filter shows.
    wait_until(
        &mut tab,
        "the filter",
        &format!("{shown} === 'workers,gpu'"),
    );
    tab.evaluate(
        "document.querySelector('input').value = ''; document.dispatchEvent(new Event('input'))",
    );
    assert_eq!(tab.text(shown), "storage,workers,web,gpu");
    let kept = "document.activeElement === window.before && scrollY === 50 && \
                document.querySelector('[data-key=workers]').open && \
                !document.querySelector('[data-key=storage]').open && \
                document.querySelector('[data-key=workers] .more').open && \
                document.querySelector('.note').hidden";
    assert_eq!(tab.evaluate(kept), true);
    assert_eq!(
        tab.text("document.querySelector('[aria-pressed=true]').value"),
        "attention"
    );
}

#[test]
fn a_command_is_copied_with_the_keyboard() {
    let (_etcd, airlock) = night();
    let mut tab = Tab::open(&airlock.status_url());
    tab.evaluate("document.querySelector('[data-key=workers] > summary').focus()");
    tab.press("Enter");
    tab.press("Tab");
    assert_eq!(
        tab.text("document.activeElement.textContent"),
        "Runbook: A node holds its slot for too long"
    );
    tab.press("Tab");
    assert_eq!(tab.text("document.activeElement.textContent"), "Copy");
    let copied = "new Promise((resolve) => document.addEventListener('copy', () => resolve(getSelection().toString())))";
    tab.evaluate(&format!("window.copied = {copied}; 0"));
    tab.press("Enter");
    let unlock = airlock.suggested(&format!("unlock workers {}", id(7)));
    assert_eq!(tab.text("window.copied"), unlock);
    assert_eq!(tab.text("document.activeElement.textContent"), "Copied");
    assert_eq!(tab.evaluate("getSelection().isCollapsed"), true);
}

#[test]
fn without_scripts_the_page_is_complete_and_reloads_itself() {
    let (_etcd, airlock) = night();
    let mut tab = Tab::new(1280);
    tab.disable_scripts();
    tab.navigate(&airlock.status_url());
    assert_eq!(
        tab.evaluate("getComputedStyle(document.querySelector('.bar')).display"),
        "none"
    );
    assert_eq!(tab.evaluate("document.querySelectorAll('.copy').length"), 0);
    open_everything(&mut tab);
    let text = tab.text("document.body.innerText");
    for expected in [
        "All 12 waiting nodes",
        &id(112),
        "Last reboots",
        "admin@ops-1",
        "UTC",
        "Servers",
    ] {
        assert!(
            text.contains(expected),
            "{expected} is not on the page: {text}"
        );
    }
    tab.evaluate("window.before = 1");
    tab.wait_for_reload();
}

#[test]
fn a_server_that_does_not_respond_and_a_store_that_is_down_dim_the_page_and_ages_stand_still() {
    let (mut etcd, mut airlock) = night();
    // The age of this holder changes each second.
    let since = format!("{:.0}", Timestamp::now());
    put(
        &etcd,
        "web",
        3,
        &json!({ id(22): { "since": since } }),
        &json!([]),
    );
    eventually("the server to know the holder", || {
        let (_, page) = airlock.status("/");
        page.contains("1 of 3").then_some(())
    });
    let mut tab = Tab::open(&airlock.status_url());
    let dimmed = "getComputedStyle(document.querySelector('.list')).filter";
    assert_eq!(tab.text(dimmed), "none");
    etcd.members[0].kill();
    eventually("the page to say so", || {
        let (_, page) = airlock.status("/");
        page.contains("store unavailable").then_some(())
    });
    refresh(&mut tab);
    wait_until(
        &mut tab,
        "the title",
        "document.title.includes('store unavailable')",
    );
    assert_eq!(tab.text(dimmed), "grayscale(1)");
    let text = tab.text("document.querySelector('main').innerText");
    assert!(
        text.contains("The holders and their ages below are as of "),
        "{text}"
    );
    tab.evaluate("document.querySelector('[data-key=workers]').open = true");
    assert!(
        tab.text("document.querySelector('[data-key=workers]').innerText")
            .contains("Holders as of ")
    );
    take_picture(&mut tab, "store-down");
    assert_accessible(&mut tab);

    let age = "document.querySelector('[data-key=web] .when b').textContent";
    let clock = "document.querySelector('.clock').dateTime";
    let (before, at) = (tab.text(age), tab.text(clock));
    assert!(before.ends_with(" s"), "{before}");
    let is_later = format!("Date.now() - Date.parse('{at}') > 2000");
    wait_until(&mut tab, "time in which an age can change", &is_later);
    refresh(&mut tab);
    wait_until(&mut tab, "the refresh", &format!("{clock} !== '{at}'"));
    assert_eq!(tab.text(age), before);

    airlock.process().kill();
    refresh(&mut tab);
    let note = "document.querySelector('.note').textContent";
    wait_until(
        &mut tab,
        "the note",
        &format!("{note}.endsWith('the server does not respond.')"),
    );
    assert_eq!(tab.text("document.body.className"), "stale");
    take_picture(&mut tab, "stale");
    assert_accessible(&mut tab);
}

#[test]
fn a_group_with_100_slots_and_300_waiting_nodes_fits_on_one_screen() {
    let (_etcd, airlock) = night();
    let mut tab = Tab::new(1400);
    tab.navigate(&format!("{}/#100%20slots", airlock.status_url()));
    let row = "document.querySelector('[data-key=\"100 slots\"]')";
    wait_until(&mut tab, "the row to be open", &format!("{row}.open"));
    take_picture(&mut tab, "100-slots");
    let text = tab.text(&format!("{row}.innerText"));
    for expected in ["100 of 100", "Waiting (300)", "300 nodes"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    // The windows of the tests are 900 pixels high.
    let height = tab.evaluate(&format!("{row}.getBoundingClientRect().height"));
    assert!(height.as_f64().unwrap() < 900.0, "{height} pixels");
}

#[test]
fn a_thousand_groups_are_shown_at_once() {
    let groups: String = (0..1000)
        .map(|number| format!("[[lock.groups]]\nname = \"group-{number}\"\nslots = 2\n"))
        .collect();
    let airlock = Airlock::embedded(&format!("[lock]\n{groups}"));
    let client = airlock.client();
    for number in 0..1000 {
        let group = format!("group-{number}");
        for node in 0..4 {
            client.lock(&group, &id(4 * number + node));
        }
    }
    let mut tab = Tab::open(&airlock.status_url());
    wait_until(
        &mut tab,
        "the state",
        "!document.title.includes('not known')",
    );
    let (_, page) = airlock.status("/");
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
    let timing = "(() => { const {responseEnd, loadEventEnd} = performance.getEntriesByType('navigation')[0]; \
                  return loadEventEnd - responseEnd })()";
    let load = tab.evaluate(timing).as_f64().unwrap();
    tab.evaluate("window.started = performance.now(); document.querySelector('input').value = 'group-77'; \
                  document.dispatchEvent(new Event('input')); window.filtered = performance.now() - started");
    let filtered = tab.evaluate("window.filtered").as_f64().unwrap();
    assert_eq!(
        tab.evaluate("document.querySelectorAll('.group:not([hidden])').length"),
        11
    );
    tab.evaluate(
        "document.querySelector('time').textContent = 'old'; window.started = performance.now()",
    );
    refresh(&mut tab);
    wait_until(
        &mut tab,
        "the refresh",
        "document.querySelector('time').textContent !== 'old'",
    );
    let refreshed = tab
        .evaluate("performance.now() - window.started")
        .as_f64()
        .unwrap();
    println!(
        "1,000 groups: {} kB, loaded after {load:.0} ms, filtered in {filtered:.0} ms, refreshed within {refreshed:.0} ms",
        page.len() / 1000
    );
    take_picture(&mut tab, "thousand");
    assert!(load < 10_000.0 && filtered < 2_000.0 && refreshed < 20_000.0);
}
