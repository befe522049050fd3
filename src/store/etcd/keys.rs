//! The etcd keys of a group, in the format of coreos/airlock.

use crate::lock::GroupName;

/// The prefix of all keys. It has no leading slash.
pub(crate) const PREFIX: &str = "com.coreos.airlock/groups/";

/// The prefix of the keys of servers, which only Airlock uses. No key of a group begins so, because `#` is escaped in
/// names, and all of them follow it.
pub(crate) const SERVERS: &str = "com.coreos.airlock/groups/#servers/";

/// A key of a server, with its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerKey {
    /// The document of the server.
    Document(String),
    /// The key that exists while the server runs.
    Alive(String),
    /// The key that tells when the server was last seen.
    Seen(String),
}

/// Returns the first possible key of a group.
pub(crate) fn first_of_groups() -> String {
    format!("{PREFIX}%")
}

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

/// Returns the key of the document of a server.
pub(crate) fn server_document(server: &str) -> String {
    format!("{SERVERS}{}/document", query_escape(server))
}

/// Returns the key that exists while a server runs.
pub(crate) fn server_alive(server: &str) -> String {
    format!("{SERVERS}{}/alive", query_escape(server))
}

/// Returns the key that tells when a server was last seen.
pub(crate) fn server_seen(server: &str) -> String {
    format!("{SERVERS}{}/seen", query_escape(server))
}

/// Returns the group whose semaphore has this key.
pub(crate) fn parse_semaphore(key: &str) -> Option<GroupName> {
    let escaped = key.strip_prefix(PREFIX)?.strip_suffix("/v1/semaphore")?;
    GroupName::new(&query_unescape(escaped)?)
}

/// Returns the server that has this key.
pub(crate) fn parse_server(key: &str) -> Option<ServerKey> {
    let (server, kind) = key.strip_prefix(SERVERS)?.split_once('/')?;
    let server = query_unescape(server)?;
    match kind {
        "document" => Some(ServerKey::Document(server)),
        "alive" => Some(ServerKey::Alive(server)),
        "seen" => Some(ServerKey::Seen(server)),
        _ => None,
    }
}

/// Reverses [`query_escape`]; `None` if the text is not escaped so.
fn query_unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let unescaped = String::from_utf8(bytes).ok()?;
    // Any other spelling is not the key of this name.
    (query_escape(&unescaped) == text).then_some(unescaped)
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

    #[test]
    fn keys_are_parsed_back_and_no_group_can_have_the_key_of_a_server() {
        for name in ["default", "#servers", "a b/c%", "~", "\u{e9}"] {
            let group = GroupName::new(name).unwrap();
            let key = semaphore(&group);
            assert_eq!(parse_semaphore(&key), Some(group));
            assert_eq!(parse_server(&key), None);
            assert!(
                key > first_of_groups() && key.as_str() < prefix_end(),
                "{key}"
            );
            for (key, parsed) in [
                (server_document(name), ServerKey::Document(name.into())),
                (server_alive(name), ServerKey::Alive(name.into())),
                (server_seen(name), ServerKey::Seen(name.into())),
            ] {
                assert!(key.starts_with(PREFIX) && key < first_of_groups(), "{key}");
                assert_eq!(parse_server(&key), Some(parsed));
                assert_eq!(parse_semaphore(&key), None);
            }
        }
        for key in [
            "a/v1/semaphore",
            "com.coreos.airlock/groups/%61/v1/semaphore",
        ] {
            assert_eq!(parse_semaphore(key), None, "{key}");
        }
    }
}
