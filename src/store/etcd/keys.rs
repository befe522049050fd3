//! The keys of a group in etcd, as Airlock makes them.

use super::GroupName;

/// What all keys begin with. It has no leading slash.
pub const PREFIX: &str = "com.coreos.airlock/groups/";

/// The key of the semaphore, which Airlock knows.
pub fn semaphore(group: &GroupName) -> String {
    format!("{PREFIX}{}/v1/semaphore", query_escape(group.as_str()))
}

/// The key of the lock times, which only this server knows.
pub fn lock_times(group: &GroupName) -> String {
    format!("{PREFIX}{}/v1/lock-times", query_escape(group.as_str()))
}

/// Go's `url.QueryEscape`: a space becomes `+`, what is not unreserved becomes `%XX`.
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
    use proptest::prelude::*;

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
    }

    /// The inverse, as Go's `url.QueryUnescape` has it.
    fn query_unescape(text: &str) -> String {
        let mut bytes = text.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                _ => byte,
            });
        }
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn no_two_groups_share_a_key_and_none_gets_out_of_its_folder(group in ".+") {
            let key = semaphore(&GroupName::new(&group).unwrap());
            let escaped = key.strip_prefix(PREFIX).unwrap().strip_suffix("/v1/semaphore").unwrap();
            prop_assert!(!escaped.contains('/'), "{}", escaped);
            prop_assert_eq!(query_unescape(escaped), group);
        }
    }
}
