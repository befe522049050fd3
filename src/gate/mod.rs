//! Gates: conditions outside of the store that new locks depend on.
//!
//! * `source` asks a web server or a Prometheus, whose results `prometheus` understands; `answer` is what they have in
//!   common with the sources of tests.
//! * `passes` has one gate, with its latest answer and the passes for new locks that this answer allows.
//!
//! A gate fails closed: without a valid answer that is young enough, it gives no pass. What it needs to know of the
//! lock for which a pass is acquired is [`Wanted`].

mod answer;
mod metrics;
mod passes;
mod prometheus;
mod source;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time;
use tokio_util::task::AbortOnDropHandle;

use crate::config::GateSettings;
use crate::reloadable::{Reload, ReloadError};
pub(crate) use answer::{Answer, Source};
pub(crate) use metrics::GateMetrics;
pub(crate) use passes::{Closed, Gate, Pass, Wanted};
use source::HttpSource;
pub(crate) use source::check_credentials;

/// The maximum of the random part of the time between two asks for display, so that servers do not meet at a gate.
const JITTER: Duration = Duration::from_secs(3);

/// Creates the source of a gate.
type CreateSource = Box<dyn Fn(&Arc<GateSettings>) -> Arc<dyn Source> + Send + Sync>;

/// The gates of a server, by their names.
pub(crate) struct Gates {
    running: Mutex<BTreeMap<Arc<str>, Running>>,
    source: CreateSource,
    metrics: GateMetrics,
}

/// A gate, and the task that asks it for display.
struct Running {
    gate: Arc<Gate>,
    _refresh: AbortOnDropHandle<()>,
}

/// Asks the server of a gate once, as a command does.
pub(crate) async fn ask_once(settings: &Arc<GateSettings>) -> Answer {
    let source = HttpSource::new(Arc::clone(settings));
    answer::ask(&source, settings.timeout).await
}

/// Returns the answer in the body of a response of Prometheus.
#[cfg(any(test, fuzzing))]
pub(crate) fn prometheus_answer(body: &[u8]) -> Answer {
    let answer = prometheus::answer(body);
    answer.unwrap_or_else(|error| Answer::failed(&crate::text::explain::chain(&error)))
}

// === impl Gates ===

impl Gates {
    /// Returns no gates, until [`Gates::replace`] names them.
    pub(crate) fn new(metrics: GateMetrics) -> Self {
        Gates::with_source(metrics, |settings| {
            Arc::new(HttpSource::new(Arc::clone(settings)))
        })
    }

    /// Returns no gates. Those to come ask what `source` returns.
    pub(crate) fn with_source(
        metrics: GateMetrics,
        source: impl Fn(&Arc<GateSettings>) -> Arc<dyn Source> + Send + Sync + 'static,
    ) -> Self {
        Gates {
            running: Mutex::default(),
            source: Box::new(source),
            metrics,
        }
    }

    /// Replaces the gates. One whose settings are the same stays as it is, with its latest answer.
    pub(crate) fn replace<'a>(&self, settings: impl Iterator<Item = &'a Arc<GateSettings>>) {
        let mut running = self.running.lock();
        let mut old = std::mem::take(&mut *running);
        for settings in settings {
            let name = &settings.name;
            if running.contains_key(name) {
                continue;
            }
            let same = old
                .remove(name)
                .filter(|old| old.gate.settings() == &**settings);
            let gate = same.unwrap_or_else(|| self.start(settings));
            running.insert(Arc::clone(name), gate);
        }
        for name in old.keys().filter(|name| !running.contains_key(*name)) {
            self.metrics.remove(name);
        }
    }

    /// Returns the gates with these settings, always in the same order: no two requests wait for each other.
    pub(crate) fn of(&self, settings: &[Arc<GateSettings>]) -> Arc<[Arc<Gate>]> {
        let running = self.running.lock();
        let mut names: Vec<_> = settings.iter().map(|settings| &settings.name).collect();
        names.sort_unstable();
        let gates = names.into_iter().filter_map(|name| running.get(name));
        gates.map(|running| Arc::clone(&running.gate)).collect()
    }

    fn start(&self, settings: &Arc<GateSettings>) -> Running {
        let series = self.metrics.of(&settings.name);
        let gate = Gate::new(Arc::clone(settings), (self.source)(settings), series);
        Running {
            _refresh: AbortOnDropHandle::new(tokio::spawn(refresh(Arc::downgrade(&gate)))),
            gate,
        }
    }

    fn gates(&self) -> Vec<Arc<Gate>> {
        let running = self.running.lock();
        running
            .values()
            .map(|running| Arc::clone(&running.gate))
            .collect()
    }
}

/// Asks a gate for display, until it is dropped.
async fn refresh(gate: Weak<Gate>) {
    while let Some(due) = gate.upgrade().map(|gate| gate.refresh()) {
        let jitter = JITTER.mul_f64(fastrand::f64());
        time::sleep_until(due + jitter).await;
    }
}

impl Reload for Gates {
    fn what(&self) -> String {
        "gates".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let gates = self.gates().into_iter();
        gates.flat_map(|gate| gate.source().paths()).collect()
    }

    /// Reads the files of all gates. The error is the first one.
    fn reload(&self) -> Result<(), ReloadError> {
        let mut result = Ok(());
        for gate in self.gates() {
            if gate.source().paths().is_empty() {
                continue;
            }
            let reloaded = gate.source().reload();
            gate.ask_now();
            result = result.and(reloaded);
        }
        result
    }
}
