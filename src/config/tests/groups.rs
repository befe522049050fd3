//! `[lock]` and `[[lock.groups]]`.

use super::{EMBEDDED, ETCD, Loaded, assert_errors, assert_warnings, valid};
use crate::lock::GroupName;

pub(super) fn slots(loaded: &Loaded) -> Vec<(&str, u64)> {
    let groups = loaded.settings.groups.iter();
    groups
        .map(|(name, group)| (name.as_str(), group.slots))
        .collect()
}

#[test]
fn a_group_has_its_own_slots_or_the_default_ones() {
    let loaded = valid(&format!(
        "{ETCD}[lock]\ndefault_group_name = \"base\"\ndefault_slots = 3\n\
         [[lock.groups]]\nname = \"workers\"\n[[lock.groups]]\nname = \"db\"\nslots = 2\n"
    ));
    assert_eq!(slots(&loaded), [("base", 3), ("db", 2), ("workers", 3)]);
}

#[test]
fn an_entry_for_the_default_group_sets_everything_but_the_slots() {
    let text = format!(
        "{ETCD}[lock]\ndefault_slots = 3\n[[lock.windows]]\ndays = [\"Sat\"]\nstart_time = \"01:00\"\nlength_minutes = 1\n\
         [[lock.groups]]\nname = \"default\"\nslots = 7\nwindows = []\n[[lock.groups]]\nname = \"g\"\n"
    );
    let loaded = valid(&text);
    assert_eq!(slots(&loaded), [("default", 3), ("g", 3)]);
    let windows = loaded
        .settings
        .groups
        .values()
        .map(|group| group.windows.0.len());
    assert_eq!(windows.collect::<Vec<_>>(), [0, 1]);
    assert_warnings(
        &text,
        &[
            "the slots of \"default\" are ignored because it is the default group; set lock.default_slots instead \
             (c.toml:13, lock.groups[0].slots)",
        ],
    );
}

#[test]
fn a_group_name_that_zincati_rejects_is_a_warning() {
    let text = format!("{ETCD}[[lock.groups]]\nname = \"a b\"\n");
    assert_warnings(
        &text,
        &[
            "nodes with Zincati cannot use the group name \"a b\"; use only letters, digits, '.' and '-' \
             (c.toml:6, lock.groups[0].name)",
        ],
    );
    let name = GroupName::new("a b").unwrap();
    assert!(valid(&text).settings.groups.contains_key(&name));
}

#[test]
fn a_group_name_is_at_most_253_bytes_long_and_has_no_control_or_format_characters() {
    let long = "a".repeat(254);
    let shown = "a".repeat(100);
    assert_errors(
        &format!(
            "{ETCD}[lock]\ndefault_group_name = \"\\u0007\"\n[[lock.groups]]\nname = \"a\\u202E\"\n[[lock.groups]]\nname = \"{long}\"\n"
        ),
        &[
            "group name \"\\u{7}\" contains the control or format character U+0007; remove it (c.toml:6, \
             lock.default_group_name)",
            "group name \"a\\u{202e}\" contains the control or format character U+202E; remove it (c.toml:8, \
             lock.groups[0].name)",
            &format!(
                "group name \"{shown}\"… has 254 bytes; shorten it to 253 or fewer (c.toml:10, lock.groups[1].name)"
            ),
        ],
    );
}

#[test]
fn an_unknown_reaction_to_a_slots_mismatch_is_an_error() {
    assert_errors(
        &format!("{ETCD}[lock]\non_slots_mismatch = \"Update\"\n"),
        &[
            "unknown value \"Update\"; write \"warn\" (the slots in the store take precedence) or \"update\" (the server \
             writes the slots of this file to the store) (c.toml:6, lock.on_slots_mismatch)",
        ],
    );
}

#[test]
fn users_are_checked_and_need_passwords() {
    assert_errors(
        &format!(
            "{EMBEDDED}[lock]\ndefault_users = []\n\
             [[lock.groups]]\nname = \"default\"\nusers = [\"a\", \"a:b\"]\n"
        ),
        &[
            "users are identified by their passwords; set service.htpasswd_path, or remove this key \
             (c.toml:8, lock.default_users)",
            "users are identified by their passwords; set service.htpasswd_path, or remove this key \
             (c.toml:11, lock.groups[0].users)",
            "\"a:b\" is not a valid user name; an htpasswd file has no empty names, and none with ':' or control \
             characters (c.toml:11, lock.groups[0].users[1])",
        ],
    );
}

#[test]
fn a_list_without_users_is_an_error() {
    assert_errors(
        "[service]\ntls = false\nhtpasswd_path = \"p\"\n[embedded]\npath = \"/x\"\n[lock]\ndefault_users = []\n",
        &[
            "the list is empty, so that no client could lock; name a user, or remove this key to allow all users \
             (c.toml:7, lock.default_users)",
        ],
    );
}

#[test]
fn default_users_apply_to_every_group_without_users_of_its_own() {
    let text = "[service]\ntls = false\nhtpasswd_path = \"p\"\n[embedded]\npath = \"/x\"\n\
         [lock]\ndefault_users = [\"a\"]\n\
         [[lock.groups]]\nname = \"g\"\n\
         [[lock.groups]]\nname = \"h\"\nusers = [\"b\", \"c\"]\n";
    let settings = valid(text).settings;
    let users: Vec<String> = settings
        .groups
        .values()
        .map(|group| format!("{:?}", group.users.as_ref().unwrap()))
        .collect();
    assert_eq!(users, [r#"{"a"}"#, r#"{"a"}"#, r#"{"b", "c"}"#]);
}
