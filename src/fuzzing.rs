//! The fuzz targets: functions that give any input to a parser, and check the result.
//!
//! They panic if the parser is wrong. `make fuzz` calls them with inputs that libFuzzer generates, and the unit tests
//! with the files in fuzz/corpus/ and with random changes of valid inputs.
#![expect(clippy::expect_used, reason = "a check panics")]

use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::api::identity::parse_body;
use crate::auth::htpasswd::Users;
use crate::auth::{BasicCredentials, MAX_PASSWORD};
use crate::config;
use crate::gate::{Answer, prometheus_answer};
use crate::http::forwarded::client;
use crate::lock::codec::{Decoded, Value, decode, encode};
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, NodeId, RequestId, is_control_or_format};
use crate::names::{NodeNames, id_and_name};
use crate::store::etcd::keys;
use crate::text::explain::explain;

/// Checks the `Authorization` header. Each line of the input is the value of one header.
pub fn basic(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line)
            && !value.is_empty()
        {
            headers.append(header::AUTHORIZATION, value);
        }
    }
    let Ok(BasicCredentials { user, password }) = BasicCredentials::from_headers(&headers) else {
        return;
    };
    assert_eq!(headers.len(), 1, "a proxy could choose another header");
    assert!(!user.contains(':'));
    assert!((1..=MAX_PASSWORD).contains(&password.len()) && !password.contains('\0'));
    let word = STANDARD.encode(format!("{user}:{password}"));
    let header = HeaderValue::try_from(format!("Basic {word}"));
    headers.insert(header::AUTHORIZATION, header.expect("a word"));
    let again = BasicCredentials::from_headers(&headers);
    let again = again.map(|again| (again.user, again.password));
    assert_eq!(again, Ok((user, password)));
}

/// Checks the codec. The input is a semaphore, followed by an empty line and the lock times if there are any.
pub fn codec(input: &[u8]) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let value = Value {
        semaphore: input[..end.unwrap_or(input.len())].to_vec(),
        lock_times: end.map(|end| input[end + 2..].to_vec()).into(),
    };
    match decode(&value) {
        Ok(decoded) => {
            let Decoded {
                semaphore,
                audit_log,
                history,
            } = &decoded;
            assert!(semaphore.slots <= Semaphore::MAX_SLOTS);
            let encoded = encode(semaphore, audit_log, history);
            assert!(encoded.semaphore.iter().all(|byte| *byte >= b' '));
            assert_eq!(decode(&encoded), Ok(decoded));
        }
        Err(error) => assert_one_line(&error.without_value()),
    }
}

/// Checks the configuration.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let path = Path::new("c.toml");
    let diagnostics = match config::parse(path, text) {
        Ok(loaded) => loaded.warnings,
        Err(invalid) => {
            assert!(!invalid.errors.is_empty());
            [invalid.errors, invalid.warnings].concat()
        }
    };
    let lines = text.lines().count() + 1;
    for found in diagnostics {
        assert_eq!(found.file, path);
        assert!(found.line.is_some() || !found.key.is_empty(), "{found}");
        assert!(
            found.line.is_none_or(|line| (1..=lines).contains(&line)),
            "{found}"
        );
        assert_one_line(&found.to_string());
    }
}

/// Checks the headers of a proxy. Each line of the input is a header.
pub fn forwarded(input: &[u8]) {
    const FORWARDED: HeaderName = header::FORWARDED;
    const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let (proxy, node) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    assert_eq!(client(&trusted, node, &headers), node);
    let found = client(&trusted, proxy, &headers);
    assert_eq!(found, found.to_canonical());

    // Whatever a node sends, the proxy adds the address of the node to one of the headers.
    for (name, other, element) in [
        (FORWARDED, X_FORWARDED_FOR, "for=192.0.2.1"),
        (FORWARDED, X_FORWARDED_FOR, "by=_p;for=\"192.0.2.1:9\""),
        (X_FORWARDED_FOR, FORWARDED, "192.0.2.1"),
    ] {
        let mut appended = headers.clone();
        appended.append(&name, HeaderValue::from_static(element));
        let mut joined = headers.clone();
        let values: Vec<&[u8]> = appended
            .get_all(&name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let value = HeaderValue::from_bytes(&values.join(&b", "[..]));
        joined.insert(&name, value.expect("parts of valid values"));
        for headers in [&appended, &joined] {
            let found = client(&trusted, proxy, headers);
            let is_plain = headers
                .get_all(&name)
                .iter()
                .all(|value| value.to_str().is_ok_and(|text| !text.contains('"')));
            let may_be_proxy = !is_plain || headers.contains_key(&other);
            assert!(found == node || (may_be_proxy && found == proxy), "{found}");
        }
    }
}

/// Checks the response of Prometheus about a gate.
pub fn gate(input: &[u8]) {
    let answer = prometheus_answer(input);
    if answer == Answer::Open {
        let response: serde_json::Value = serde_json::from_slice(input).expect("JSON");
        assert_eq!(response["status"], "success");
        assert_eq!(response["data"]["resultType"], "vector");
        assert_eq!(response["data"]["result"], serde_json::json!([]));
        let warnings = response.get("warnings").and_then(|list| list.as_array());
        assert!(warnings.is_none_or(Vec::is_empty));
    } else {
        let reason = answer.reason().expect("a reason");
        assert_one_line(reason);
        assert!(reason.len() < 410, "{reason}");
    }
}

/// Checks the htpasswd file.
pub fn htpasswd(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let path = Path::new("/p");
    match Users::parse(path, text) {
        Ok(users) => {
            // The name of a user contains no colon.
            let (decoy, exists) = users.hash(":");
            assert!(!exists);
            assert!(Users::parse(path, &format!("user:{decoy}")).is_ok());
        }
        Err(error) => {
            let error = explain(&error);
            assert!(error.starts_with("/p:"), "{error}");
            // The parts of the hash in the corpus.
            assert!(!error.contains("kC25psE3") && !error.contains("lTd.7AIv"));
            assert_one_line(&error);
        }
    }
}

/// Checks the identity in the body of a request.
pub fn identity(input: &[u8]) {
    match parse_body(input) {
        Ok(found) => {
            assert!((1..=GroupName::MAX_BYTES).contains(&found.group.len()));
            let id = found.id.shared();
            let is_valid = id.len() <= NodeId::MAX_BYTES && !id.contains(is_control_or_format);
            assert_eq!(matches!(found.id, RequestId::Valid(_)), is_valid);
            let flat = serde_json::json!({ "id": &*id, "group": found.group });
            let nested = serde_json::json!({ "client_params": flat });
            for body in [flat, nested] {
                let again = parse_body(body.to_string().as_bytes());
                assert_eq!(again.expect("the same identity"), found);
            }
        }
        Err(error) => {
            let error = error.to_string();
            assert_one_line(&error);
            assert!(error.len() < 200, "{error}");
        }
    }
}

/// Checks the etcd keys. The input is the name of a group.
pub fn keys(input: &[u8]) {
    let Some(group) = std::str::from_utf8(input).ok().and_then(GroupName::new) else {
        return;
    };
    let all = [
        (keys::semaphore(&group), "/v1/semaphore"),
        (keys::lock_times(&group), "/v1/lock-times"),
        (keys::contention(&group), "/v1/contention"),
    ];
    for (key, suffix) in all {
        assert!((keys::PREFIX..keys::prefix_end()).contains(&&*key), "{key}");
        let escaped = key
            .strip_prefix(keys::PREFIX)
            .and_then(|key| key.strip_suffix(suffix));
        let escaped = escaped.unwrap_or_else(|| panic!("{key}"));
        assert!(!escaped.contains('/'), "{key}");
        assert_eq!(query_unescape(escaped), group.as_str());
    }
}

/// Checks the file of the names of nodes.
pub fn node_names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match NodeNames::parse("/p".into(), text) {
        Ok(names) => {
            for (id, name) in text.lines().filter_map(id_and_name) {
                assert!(id.parse::<NodeId>().is_ok());
                assert!((1..=64).contains(&name.chars().count()));
                assert!(!name.contains(is_control_or_format));
                assert_eq!(names.name(id).as_deref(), Some(name));
            }
        }
        Err(error) => {
            let error = explain(&error);
            assert!(error.starts_with("/p:"), "{error}");
            assert_one_line(&error);
            assert!(error.len() < 20_000, "{error}");
        }
    }
}

/// Unescapes as Go's `url.QueryUnescape` does, so that no two groups have the same key.
fn query_unescape(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
                let digits = std::str::from_utf8(&digits).expect("two digits");
                u8::from_str_radix(digits, 16).expect("two digits")
            }
            _ => byte,
        });
    }
    String::from_utf8(out).expect("the bytes of a text")
}

fn assert_one_line(text: &str) {
    assert!(!text.is_empty());
    assert!(!text.contains(is_control_or_format), "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 9] = [
        ("basic", basic),
        ("codec", codec),
        ("config", config),
        ("forwarded", forwarded),
        ("gate", gate),
        ("htpasswd", htpasswd),
        ("identity", identity),
        ("keys", keys),
        ("node_names", node_names),
    ];

    /// Returns the paths in a folder of fuzz/, sorted.
    fn paths(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz")
            .join(folder);
        let entries = fs::read_dir(folder).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn every_file_of_the_corpus_is_parsed_correctly() {
        for (target, check) in TARGETS {
            for path in paths(&format!("corpus/{target}")) {
                let input = fs::read(&path).unwrap();
                let result = std::panic::catch_unwind(|| check(&input));
                assert!(result.is_ok(), "{}", path.display());
            }
        }
    }

    #[test]
    fn every_target_has_a_program_and_a_corpus() {
        let targets = TARGETS.map(|(target, _)| target);
        for folder in ["fuzz_targets", "corpus"] {
            let paths = paths(folder);
            let names = paths
                .iter()
                .map(|path| path.file_stem().unwrap().to_str().unwrap());
            assert_eq!(names.collect::<Vec<_>>(), targets);
        }
        for (target, program) in targets.iter().zip(paths("fuzz_targets")) {
            let program = fs::read_to_string(program).unwrap();
            assert!(program.contains(&format!("airlock::fuzzing::{target}(")));
        }
    }
}
