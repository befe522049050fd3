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
}
