//! The etcd keys of a group, in the format of coreos/airlock.

use crate::lock::GroupName;

/// The prefix of all keys. It has no leading slash.
pub(crate) const PREFIX: &str = "com.coreos.airlock/groups/";

/// Returns the first possible key after all keys with [`PREFIX`].
pub(crate) fn prefix_end() -> &'static str {
    "com.coreos.airlock/groups0"
}

/// Returns the key of the semaphore, which coreos/airlock uses too.
pub(crate) fn semaphore(group: &GroupName) -> String {
    format!("{PREFIX}{}/v1/semaphore", query_escape(group.as_str()))
}

/// Returns the key of the lock times, which only Airlock uses.
pub(crate) fn lock_times(group: &GroupName) -> String {
    format!("{PREFIX}{}/v1/lock-times", query_escape(group.as_str()))
}

/// Returns the key with which servers announce contention, which only Airlock uses.
pub(crate) fn contention(group: &GroupName) -> String {
    format!("{PREFIX}{}/v1/contention", query_escape(group.as_str()))
}

/// Escapes as Go's `url.QueryEscape` does: a space becomes `+`, any other byte that is not unreserved becomes `%XX`.
fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;
    use proptest::prelude::*;

    #[test]
    fn the_prefix_ends_where_its_last_byte_is_incremented() {
        let start = PREFIX.strip_suffix('/').unwrap();
        assert_eq!(prefix_end().strip_prefix(start), Some("0"));
        assert_eq!(b'/' + 1, b'0');
    }

    #[test]
    fn golden_keys_are_escaped_as_go_does() {
        for (group, expected) in [
            ("default", "default"),
            ("a b", "a+b"),
            ("a+b", "a%2Bb"),
            ("a/b", "a%2Fb"),
            ("~._-", "~._-"),
            ("é%&=?#", "%C3%A9%25%26%3D%3F%23"),
            ("'()*!", "%27%28%29%2A%21"),
        ] {
            assert_eq!(
                semaphore(&GroupName::new(group).unwrap()),
                format!("com.coreos.airlock/groups/{expected}/v1/semaphore")
            );
        }
        assert_eq!(
            lock_times(&GroupName::new("default").unwrap()),
            "com.coreos.airlock/groups/default/v1/lock-times"
        );
        assert_eq!(
            contention(&GroupName::new("a b").unwrap()),
            "com.coreos.airlock/groups/a+b/v1/contention"
        );
    }

    proptest! {
        #[test]
        fn no_two_groups_share_a_key_and_no_name_leaves_the_prefix(group in ".+") {
            fuzzing::keys(group.as_bytes());
        }
    }
}
