//! `[[lock.caps]]`, and the digest of the policies.

use super::{EMBEDDED, assert_errors, assert_warnings, valid};

/// A file with the groups `db`, with two slots, `web`, and `default`. The next line is line 12.
fn file(caps: &str) -> String {
    format!(
        "{EMBEDDED}[[lock.groups]]\nname = \"db\"\nslots = 2\n[[lock.groups]]\nname = \"web\"\n{caps}"
    )
}

#[test]
fn a_cap_limits_the_locks_or_the_groups_or_both() {
    let settings = valid(&file(
        "[[lock.caps]]\nname = \"quorum\"\ngroups = [\"web\", \"db\", \"default\"]\nmax_held = 3\nmax_groups = 2\n\
         [[lock.caps]]\nname = \"zones\"\ngroups = [\"db\", \"default\"]\nmax_groups = 1\n",
    ))
    .settings;
    let caps: Vec<_> = settings
        .caps
        .iter()
        .map(|cap| {
            let groups: Vec<&str> = cap.groups.iter().map(|group| group.as_str()).collect();
            (&*cap.name, groups.join(" "), cap.max_held, cap.max_groups)
        })
        .collect();
    assert_eq!(
        caps,
        [
            ("quorum", "db default web".into(), Some(3), Some(2)),
            ("zones", "db default".into(), None, Some(1)),
        ]
    );
}

#[test]
fn all_errors_of_a_cap_are_reported_once() {
    assert_errors(
        &file(
            "[[lock.caps]]\n[[lock.caps]]\nname = \"\"\ngroups = [\"db\", \"wbe\", \"elsewhere\"]\nmax_held = 0\n\
             [[lock.caps]]\nname = \"a\"\ngroups = [\"db\", \"db\"]\nmax_held = 1\n\
             [[lock.caps]]\nname = \"a\"\ngroups = [\"db\"]\nmax_groups = 1\n",
        ),
        &[
            "the cap has no name; add name = \"…\" (c.toml:12, lock.caps[0].name)",
            "the cap limits nothing; add max_held = 1 (locks of all its groups together), max_groups = 1 (groups with \
             locks at the same time), or both (c.toml:12, lock.caps[0])",
            "the cap has no groups; add groups = [\"…\", \"…\"] (c.toml:12, lock.caps[0].groups)",
            "the name is empty; a cap needs a name (c.toml:14, lock.caps[1].name)",
            "group \"wbe\" is not configured; did you mean \"web\"? (c.toml:15, lock.caps[1].groups[1])",
            "group \"elsewhere\" is not configured; add it to [[lock.groups]], or remove it here \
             (c.toml:15, lock.caps[1].groups[2])",
            "expected a whole number, 1 or more, found 0; to stop all reboots of a group, use `airlock pause GROUP` \
             (c.toml:16, lock.caps[1].max_held)",
            "the cap names group \"db\" twice; remove one of the two (c.toml:19, lock.caps[2].groups[1])",
            "cap \"a\" is configured twice, first on line 18; rename one of the two (c.toml:22, lock.caps[3].name)",
            "a cap limits at least two groups together; name another one, or set the slots of the group instead \
             (c.toml:23, lock.caps[3].groups)",
        ],
    );
}

#[test]
fn a_limit_that_the_groups_cannot_reach_is_a_warning() {
    let cap = "[[lock.caps]]\nname = \"a\"\ngroups = [\"db\", \"web\"]\n";
    assert_warnings(&file(&format!("{cap}max_held = 2\nmax_groups = 1\n")), &[]);
    assert_warnings(
        &file(&format!("{cap}max_held = 3\nmax_groups = 2\n")),
        &[
            "max_held has no effect because the groups of the cap have 3 slots together; set a lower number, or remove \
             this key (c.toml:15, lock.caps[0].max_held)",
            "max_groups has no effect because the cap has 2 groups; set a lower number, or remove this key \
             (c.toml:16, lock.caps[0].max_groups)",
        ],
    );
}

#[test]
fn a_group_shares_caps_with_at_most_60_other_groups() {
    let groups: String = (0..62)
        .map(|number| format!("[[lock.groups]]\nname = \"g{number}\"\n"))
        .collect();
    let cap = |name: &str, members: std::ops::RangeInclusive<u32>| {
        let members: Vec<String> = members.map(|number| format!("\"g{number}\"")).collect();
        let members = members.join(", ");
        format!("[[lock.caps]]\nname = \"{name}\"\ngroups = [{members}]\nmax_held = 1\n")
    };
    let (first, second) = (cap("first", 0..=30), cap("second", 30..=60));
    let text = format!("{EMBEDDED}{groups}{first}{second}");
    valid(&text);
    assert_errors(
        &format!("{text}{}{}", cap("third", 30..=61), cap("fourth", 29..=61)),
        &[
            "group \"g30\" shares caps with 61 other groups, more than the 60 that one transaction of etcd can \
             compare; use smaller caps (c.toml:141, lock.caps[2].groups)",
            "group \"g29\" shares caps with 61 other groups, more than the 60 that one transaction of etcd can \
             compare; use smaller caps (c.toml:145, lock.caps[3].groups)",
        ],
    );
}

#[test]
fn each_policy_changes_the_digest_and_none_leaves_it_as_it_was() {
    let digest = |text: &str| valid(text).settings.digest();
    let window = "[[lock.windows]]\ndays = [\"Sat\"]\nstart_time = \"01:00\"\nlength_minutes = 1\n";
    let cap = "[[lock.caps]]\nname = \"a\"\ngroups = [\"db\", \"web\"]\n";
    let mut digests = vec![
        digest(&file("")),
        digest(&file(window)),
        digest(&file(&format!("{window}weeks = [1]\n"))),
        digest(&file(&format!("{window}weeks = [-1]\n"))),
        digest(&file("stall_after_minutes = 5\n")),
        digest(&file("settle_minutes = 5\n")),
        digest(&file(
            "[[lock.freezes]]\nfrom = 2026-12-20\nuntil = 2027-01-06\n",
        )),
        digest(&file(
            "[[lock.freezes]]\nfrom = 2026-12-20\nuntil = 2027-01-07\n",
        )),
        digest(&file(&format!("{cap}max_held = 1\n"))),
        digest(&file(&format!("{cap}max_groups = 1\n"))),
    ];
    // Those of versions without policies.
    assert_eq!(digests[..2], ["a17292b5e5118728", "aef46e0cd21fc551"]);
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 10);
}
