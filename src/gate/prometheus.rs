//! The API of Prometheus: the URL of an instant query, and its result, of which an empty one opens a gate.
//!
//! Source: "Instant queries" and "Format overview" in the documentation of the HTTP API of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use crate::text::escape::quoted_start;

/// The number of series that a reason names.
const NAMED_SERIES: usize = 2;

/// The maximum length of a label's name or value in a reason, in characters.
const MAX_LABEL: usize = 60;

/// The reason why a response is not a result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResultError {
    #[error("the response is no JSON of Prometheus")]
    Json(#[from] serde_json::Error),
    #[error("Prometheus reports: {0}")]
    Reported(String),
    #[error("the query has a result of type {}, which is no vector of series", quoted_start(.0, MAX_LABEL))]
    NotVector(String),
    #[error("the result is empty, but may be incomplete: {0}")]
    Incomplete(String),
}

#[derive(Deserialize)]
struct Response<'a> {
    status: &'a str,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(default)]
    result_type: String,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
}

/// Returns the URL of a query. A path and parameters of `url` are kept.
pub(super) fn query_url(url: &Uri, query: &str, timeout: Duration) -> Result<Uri, http::Error> {
    let path = url.path().trim_end_matches('/');
    let mut target = format!("{path}/api/v1/query?");
    if let Some(parameters) = url.query().filter(|parameters| !parameters.is_empty()) {
        target.push_str(parameters);
        target.push('&');
    }
    target.push_str("query=");
    push_encoded(&mut target, query);
    // Prometheus need not evaluate a query after its deadline. Writing to a string cannot fail.
    let _ = write!(target, "&timeout={}ms", timeout.as_millis());
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(target.parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// Encodes all but the unreserved characters (RFC 3986, section 2.3).
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Returns what the body of a response says.
///
/// # Errors
/// If it is not a complete vector.
pub(super) fn answer(body: &[u8]) -> Result<Answer, ResultError> {
    let response: Response<'_> = serde_json::from_slice(body)?;
    if response.status != "success" {
        return Err(ResultError::Reported(response.error));
    }
    let (kind, result) = match response.data {
        Some(data) => (data.result_type, data.result),
        None => (String::new(), None),
    };
    let (Some(result), "vector") = (result, &*kind) else {
        return Err(ResultError::NotVector(kind));
    };
    let series: Vec<&RawValue> = serde_json::from_str(result.get())?;
    if !series.is_empty() {
        return Ok(Answer::closed(&reason(&series)));
    }
    // Such as those of a Thanos that cannot reach one of its stores, where the alert may be.
    match response.warnings.first() {
        Some(warning) => Err(ResultError::Incomplete(warning.clone())),
        None => Ok(Answer::Open),
    }
}

/// Returns the error in the body of a response that has another status than 200; `None`: there is none.
pub(super) fn error(body: &[u8]) -> Option<ResultError> {
    let response: Response<'_> = serde_json::from_slice(body).ok()?;
    let error = response.error;
    (!error.is_empty()).then_some(ResultError::Reported(error))
}

fn reason(series: &[&RawValue]) -> String {
    let named = series.iter().take(NAMED_SERIES);
    let names: Vec<String> = named.map(|series| name(series)).collect();
    let (count, more) = match (series.len(), series.len() > NAMED_SERIES) {
        (1, _) => ("1 series".to_owned(), ""),
        (count, false) => (format!("{count} series"), ""),
        (count, true) => (format!("{count} series"), ", …"),
    };
    format!("the query has {count}: {}{more}", names.join(", "))
}

/// Returns a series as PromQL selects it, without the name of its metric if another label says more.
fn name(series: &RawValue) -> String {
    let Ok(Series { metric }) = serde_json::from_str(series.get()) else {
        return "?".into();
    };
    let label = |(name, value): (&String, &String)| {
        let name: String = name.chars().take(MAX_LABEL).collect();
        format!("{name}={}", quoted_start(value, MAX_LABEL))
    };
    // The one that names an alert is the most important one, and long reasons are cut.
    let (first, others): (Vec<_>, Vec<_>) = metric
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .partition(|(name, _)| *name == "alertname");
    let labels: Vec<String> = first.into_iter().chain(others).map(label).collect();
    let metric = metric.get("__name__").map_or("", String::as_str);
    let metric: String = metric.chars().take(MAX_LABEL).collect();
    format!("{metric}{{{}}}", labels.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;
    use crate::testing::mutated;
    use crate::text::explain::chain;
    use proptest::prelude::*;

    fn vector(series: &str, rest: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}{rest}}}"#
        )
    }

    fn text(body: &str) -> String {
        match answer(body.as_bytes()) {
            Ok(Answer::Open) => "open".into(),
            Ok(answer) => answer.reason().unwrap().to_string(),
            Err(error) => format!("error: {}", chain(&error)),
        }
    }

    #[test]
    fn an_empty_vector_opens_and_its_series_are_the_reason_otherwise() {
        assert_eq!(text(&vector("", "")), "open");
        assert_eq!(text(&vector("", r#","infos":["x"]"#)), "open");
        let alert =
            r#"{"metric":{"__name__":"ALERTS","a":"x\"\n","alertname":"Down"},"value":[1,"1"]}"#;
        assert_eq!(
            text(&vector(alert, r#","warnings":["w"]"#)),
            r#"the query has 1 series: ALERTS{alertname="Down", a="x\"\n"}"#
        );
        let many = [alert, r#"{"metric":{},"value":[1,"1"]}"#, "3"].join(",");
        assert_eq!(
            text(&vector(&many, "")),
            r#"the query has 3 series: ALERTS{alertname="Down", a="x\"\n"}, {}, …"#
        );
    }

    #[test]
    fn anything_else_is_an_error_with_its_reason() {
        for (body, expected) in [
            (
                vector("", r#","warnings":["store a: down"]"#),
                "the result is empty, but may be incomplete: store a: down",
            ),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#.into(),
                r#"the query has a result of type "scalar", which is no vector of series"#,
            ),
            (
                r#"{"status":"success"}"#.into(),
                r#"the query has a result of type "", which"#,
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector"}}"#.into(),
                r#"the query has a result of type "vector", which"#,
            ),
            (
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.into(),
                "Prometheus reports: parse error",
            ),
            (
                vector("", "")[1..].to_owned(),
                "the response is no JSON of Prometheus: ",
            ),
            (vector("]", ""), "the response is no JSON of Prometheus: "),
            ("[]".into(), "the response is no JSON of Prometheus: "),
            (
                "[".repeat(100_000),
                "the response is no JSON of Prometheus: ",
            ),
        ] {
            let text = text(&body);
            assert!(text.starts_with(&format!("error: {expected}")), "{text}");
        }
    }

    #[test]
    fn a_query_is_appended_to_the_path_and_the_parameters() {
        let timeout = Duration::from_millis(1500);
        for (url, expected) in [
            (
                "http://p:9090",
                "http://p:9090/api/v1/query?query=a%7Bb%3D%22%C3%BC%26%22%7D&timeout=1500ms",
            ),
            (
                "https://p/x/?dedup=true",
                "https://p/x/api/v1/query?dedup=true&query=a%7Bb%3D%22%C3%BC%26%22%7D&timeout=1500ms",
            ),
        ] {
            let query = query_url(&url.parse().unwrap(), "a{b=\"ü&\"}", timeout);
            assert_eq!(query.unwrap().to_string(), expected);
        }
    }

    const RESPONSES: &[&str] = &[
        include_str!("../../fuzz/corpus/gate/empty"),
        include_str!("../../fuzz/corpus/gate/series"),
        include_str!("../../fuzz/corpus/gate/error"),
    ];

    proptest! {
        #[test]
        fn only_an_empty_vector_opens_whatever_the_response(text in mutated(RESPONSES)) {
            fuzzing::gate(text.as_bytes());
        }
    }
}
