//! A rendered document, which all connections share: a client that asks often, or does not read, costs no copy.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};
use parking_lot::Mutex;

/// The latest version of a document.
pub(super) struct Document {
    content_type: &'static str,
    /// The time for which a version is sent to all clients. A version that is still being sent to a client is sent to
    /// the others for [`MAX_AGE`] in any case.
    max_age: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    latest: Option<(Instant, Arc<Version>)>,
    /// Earlier versions that were still being sent to a client when the latest one was rendered.
    older: Vec<Arc<Version>>,
}

/// The maximum number of earlier versions. If clients that do not read hold as many, the latest one is sent until one of
/// them is released (invariant 8).
const MAX_OLDER: usize = 4;

/// The time after which a document is rendered again.
pub(super) const MAX_AGE: Duration = Duration::from_secs(1);

struct Version {
    plain: Bytes,
    compressed: OnceLock<Bytes>,
}

// === impl Document ===

impl Document {
    pub(super) fn new(content_type: &'static str, max_age: Duration) -> Self {
        Document {
            content_type,
            max_age,
            state: Mutex::default(),
        }
    }

    /// Returns the document, in the encoding that the client accepts. `render` is called if the latest version is too
    /// old.
    pub(super) fn respond(&self, request: &HeaderMap, render: impl FnOnce() -> String) -> Response {
        let version = self.version(render);
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "accept-encoding"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        if !accepts_gzip(request) {
            return (headers, version.plain.clone()).into_response();
        }
        let encoding = [(header::CONTENT_ENCODING, "gzip")];
        (headers, encoding, version.compressed()).into_response()
    }

    fn version(&self, render: impl FnOnce() -> String) -> Arc<Version> {
        let mut state = self.state.lock();
        state.older.retain(|version| version.is_being_sent());
        if let Some((rendered, version)) = state.latest.take() {
            let age = rendered.elapsed();
            let is_current = age < self.max_age || age < MAX_AGE && version.is_being_sent();
            if is_current || state.older.len() >= MAX_OLDER {
                state.latest = Some((rendered, Arc::clone(&version)));
                return version;
            }
            if version.is_being_sent() {
                state.older.push(version);
            }
        }
        let version = Arc::new(Version {
            plain: render().into(),
            compressed: OnceLock::new(),
        });
        state.latest = Some((Instant::now(), Arc::clone(&version)));
        version
    }
}

// === impl Version ===

impl Version {
    fn is_being_sent(&self) -> bool {
        let is_shared = |bytes: &Bytes| !bytes.is_unique();
        is_shared(&self.plain) || self.compressed.get().is_some_and(is_shared)
    }

    fn compressed(&self) -> Bytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to a vector cannot fail.
            let _ = encoder.write_all(&self.plain);
            encoder.finish().unwrap_or_default().into()
        };
        self.compressed.get_or_init(compress).clone()
    }
}

/// Reports whether the client accepts gzip.
///
/// Source: RFC 9110, section 12.5.3.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = matches!(
            weight.replace(' ', "").as_str(),
            "q=0" | "q=0.0" | "q=0.00" | "q=0.000"
        );
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_sent_only_to_clients_that_accept_it() {
        assert!(!accepts_gzip(&HeaderMap::new()));
        for value in ["gzip", "deflate, GZIP;q=0.5", "br,gzip ; q=1"] {
            assert!(accepts(value), "{value}");
        }
        for value in ["", "identity", "x-gzip", "br", "gzip;q=0", "gzip; q=0.0"] {
            assert!(!accepts(value), "{value}");
        }
    }

    #[test]
    fn invariant_8_connections_share_a_version_of_a_document() {
        let rendered = Cell::new(0);
        let render = || {
            rendered.set(rendered.get() + 1);
            "text".to_owned()
        };
        let page = Document::new("text/html", MAX_AGE);
        for _ in 0..10 {
            page.respond(&HeaderMap::new(), render);
        }
        assert_eq!(rendered.take(), 1);

        let metrics = Document::new("text/plain", Duration::ZERO);
        for _ in 0..10 {
            drop(metrics.respond(&HeaderMap::new(), render));
        }
        assert_eq!(rendered.take(), 10);
        let kept: Vec<Response> = (0..10)
            .map(|_| metrics.respond(&HeaderMap::new(), render))
            .collect();
        assert_eq!(rendered.take(), 1);
        drop(kept);
    }

    #[test]
    fn invariant_8_clients_that_do_not_read_hold_few_versions() {
        let rendered = Cell::new(0);
        let render = || {
            rendered.set(rendered.get() + 1);
            "text".to_owned()
        };
        let page = Document::new("text/html", Duration::ZERO);
        let respond = || {
            let response = page.respond(&HeaderMap::new(), render);
            // A second passes.
            if let Some((at, _)) = &mut page.state.lock().latest {
                *at -= MAX_AGE;
            }
            response
        };
        let kept: Vec<Response> = (0..10).map(|_| respond()).collect();
        assert_eq!(rendered.take(), MAX_OLDER + 1);
        drop(kept);
        drop(respond());
        assert_eq!(rendered.take(), 1);
    }
}
