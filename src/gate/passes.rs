//! One gate: its latest answer, and the passes for new locks that this answer allows.
//!
//! SUBTLE: after a grant the world has changed, and an answer from before it says nothing about the world after it. So
//! the gate counts the grants since it was asked last (`grants`), and those that may follow at any time (`outstanding`):
//! together, they never exceed what one answer allows. A grant during an ask counts for its answer too.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{self, Instant};

use super::answer::{self, Answer, Source};
use super::metrics::GateSeries;
use crate::config::GateSettings;

/// The time for which an answer that is not `Open` counts for all nodes that ask, once it has arrived.
const CLOSED_FOR: Duration = Duration::from_secs(1);

/// The time after which a gate is asked for display.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// A gate.
pub(crate) struct Gate {
    settings: Arc<GateSettings>,
    source: Arc<dyn Source>,
    /// Has a permit for each pass that one answer allows.
    turns: Arc<Semaphore>,
    state: Mutex<State>,
    /// Is notified of each answer.
    answered: Notify,
    metrics: GateSeries,
}

/// The permission to grant one new lock, based on an answer of the gate. It is given back when it is dropped, unless it
/// was used.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    /// When the gate was asked.
    asked: Instant,
    is_used: bool,
    _turn: OwnedSemaphorePermit,
}

/// A lock for which a pass is wanted.
pub(crate) trait Wanted: Sync {
    /// Reports whether the lock would still be granted with a pass.
    fn is_wanted(&self) -> bool;

    /// Returns the number of grants in the group of the lock, by any server, of which this one has taken note since then.
    fn granted_since(&self, since: Instant) -> u64;
}

/// The reason why a gate gives no pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gate {gate}: {reason}")]
pub(crate) struct Closed {
    /// The name of the gate.
    pub(crate) gate: Arc<str>,
    /// The reason, as one line of bounded length.
    pub(crate) reason: Arc<str>,
}

/// The latest answer of a gate, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) answer: Answer,
    /// When the gate was asked for the first time that had an answer of this kind, without another kind since.
    pub(crate) since: Timestamp,
    /// The time since the gate was asked last.
    pub(crate) age: Duration,
}

#[derive(Default)]
struct State {
    latest: Option<Asked>,
    asking: Option<Asking>,
    /// The number of successful answers in a row.
    successes: u64,
    /// The number of passes that are neither used nor given back.
    outstanding: u64,
}

/// An answer that has arrived.
struct Asked {
    ask: Asking,
    answered: Instant,
    answer: Answer,
    /// When the first answer of this kind was asked for.
    since: Timestamp,
}

/// An ask in progress, or one that has ended.
#[derive(Clone)]
struct Asking {
    since: Instant,
    at: Timestamp,
    /// The number of grants since then.
    grants: u64,
}

/// What a request for a pass does next.
enum Next {
    Pass { asked: Instant },
    Refuse(Arc<str>),
    Ask,
    Wait,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(
        settings: Arc<GateSettings>,
        source: Arc<dyn Source>,
        metrics: GateSeries,
    ) -> Arc<Self> {
        metrics.open.set(0);
        // The configuration limits the number to 100.
        let turns = usize::try_from(settings.allows).unwrap_or(1);
        Arc::new(Gate {
            settings,
            source,
            turns: Arc::new(Semaphore::new(turns)),
            state: Mutex::default(),
            answered: Notify::new(),
            metrics,
        })
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// Returns the settings.
    pub(crate) fn settings(&self) -> &GateSettings {
        &self.settings
    }

    /// Returns what answers.
    pub(super) fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Returns the latest answer; `None`: there was none yet, so that the gate counts as closed.
    pub(crate) fn latest(&self) -> Option<Latest> {
        let state = self.state.lock();
        let latest = state.latest.as_ref()?;
        Some(Latest {
            answer: latest.answer.clone(),
            since: latest.since,
            age: latest.ask.since.elapsed(),
        })
    }

    /// Returns the reason why the gate was closed at its latest answer.
    pub(crate) fn latest_refusal(&self) -> Option<Closed> {
        let state = self.state.lock();
        let reason = match &state.latest {
            Some(latest) => Arc::clone(latest.answer.reason()?),
            None => "it has not answered yet".into(),
        };
        Some(self.closed(reason))
    }

    /// Asks the gate, unless its latest answer allows a lock, or another request has a pass. The caller will acquire a
    /// pass, but has to wait for other gates first.
    pub(crate) fn prepare(self: &Arc<Self>, wanted: &impl Wanted) {
        let can_ask = {
            let mut state = self.state.lock();
            let now = Instant::now();
            let is_usable = state.usable(now, &self.settings, wanted).is_some();
            let needs_answer = !is_usable && state.outstanding == 0;
            needs_answer && state.refusal(now).is_none() && state.begin()
        };
        if can_ask {
            self.spawn_ask();
        }
    }

    /// Returns a pass for one new lock. Asks the gate if its latest answer is too old, or allows no further lock; all
    /// that wait share this ask. `None`: when it was the turn of this request, no pass was wanted any more.
    ///
    /// # Errors
    /// If the gate is closed, or `deadline` has passed. The caller may drop the future; the ask goes on for others.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        deadline: Instant,
        wanted: &impl Wanted,
    ) -> Result<Option<Pass>, Closed> {
        // Without a turn: those that wait for one learn at once that the gate is closed.
        if let Some(reason) = self.state.lock().refusal(Instant::now()) {
            return Err(self.closed(reason));
        }
        let turn = time::timeout_at(deadline, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(self.too_late());
        };
        if !wanted.is_wanted() {
            return Ok(None);
        }
        loop {
            // Created before the check, so that no notification is missed.
            let answered = self.answered.notified();
            match self.next(wanted) {
                Next::Pass { asked } => {
                    return Ok(Some(Pass {
                        gate: Arc::clone(self),
                        asked,
                        is_used: false,
                        _turn: turn,
                    }));
                }
                Next::Refuse(reason) => return Err(self.closed(reason)),
                Next::Ask => self.spawn_ask(),
                Next::Wait => {}
            }
            if time::timeout_at(deadline, answered).await.is_err() {
                return Err(self.too_late());
            }
        }
    }

    /// Asks the gate, unless an ask is in progress.
    pub(super) fn ask_now(self: &Arc<Self>) {
        if self.state.lock().begin() {
            self.spawn_ask();
        }
    }

    /// Asks the gate for display, unless it was asked within the interval. Returns when it is due again.
    pub(super) fn refresh(self: &Arc<Self>) -> Instant {
        let now = Instant::now();
        let mut state = self.state.lock();
        let due = state.last_asked().map(|asked| asked + REFRESH_INTERVAL);
        match due {
            Some(due) if due > now => due,
            _ => {
                let is_new = state.begin();
                drop(state);
                if is_new {
                    self.spawn_ask();
                }
                now + REFRESH_INTERVAL
            }
        }
    }

    fn next(&self, wanted: &impl Wanted) -> Next {
        let mut state = self.state.lock();
        let now = Instant::now();
        if let Some(reason) = state.refusal(now) {
            return Next::Refuse(reason);
        }
        if let Some(asked) = state.take(now, &self.settings, wanted) {
            return Next::Pass { asked };
        }
        if state.begin() { Next::Ask } else { Next::Wait }
    }

    /// Asks in a task of its own, which does not end with the request that needs the answer.
    fn spawn_ask(self: &Arc<Self>) {
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            let answer = answer::ask(&*gate.source, gate.settings.timeout).await;
            gate.record(answer);
        });
    }

    fn record(&self, answer: Answer) {
        let mut state = self.state.lock();
        let Some(ask) = state.asking.take() else {
            return;
        };
        let answered = Instant::now();
        let elapsed = answered - ask.since;
        let answer = match answer {
            Answer::Open if elapsed > self.settings.max_age => Answer::failed(&format!(
                "the answer took {} ms, and is too old to be used; raise max_age_ms of the gate",
                elapsed.as_millis()
            )),
            answer => answer,
        };
        self.metrics.duration.observe(elapsed.as_secs_f64());
        if matches!(answer, Answer::Failed(_)) {
            self.metrics.failures.inc();
        }
        let answer = state.debounce(answer, self.settings.open_after_successes);
        self.metrics.open.set((answer == Answer::Open).into());
        let kind = mem::discriminant(&answer);
        let same = state.latest.as_ref();
        let same = same.filter(|before| mem::discriminant(&before.answer) == kind);
        let latest = Asked {
            since: same.map_or(ask.at, |before| before.since),
            ask,
            answered,
            answer: answer.clone(),
        };
        let before = state.latest.replace(latest).map(|before| before.answer);
        drop(state);
        self.answered.notify_waiters();
        self.log_change(before.as_ref(), &answer);
    }

    /// Logs an answer of another kind than the one before.
    fn log_change(&self, before: Option<&Answer>, answer: &Answer) {
        if before.map(mem::discriminant) == Some(mem::discriminant(answer)) {
            return;
        }
        let gate = &**self.name();
        match (answer, before) {
            (Answer::Failed(reason), _) => tracing::warn!(
                gate,
                reason = &**reason,
                "the gate cannot be asked, and counts as closed"
            ),
            (Answer::Closed(reason), Some(Answer::Failed(_))) => {
                tracing::warn!(
                    gate,
                    reason = &**reason,
                    "the gate has an answer again: closed"
                );
            }
            (Answer::Open, Some(Answer::Failed(_))) => {
                tracing::warn!(gate, "the gate has an answer again: open");
            }
            (Answer::Closed(reason), _) => {
                tracing::info!(gate, reason = &**reason, "the gate is closed");
            }
            (Answer::Open, _) => tracing::info!(gate, "the gate is open"),
        }
    }

    /// Returns the reason for a request whose deadline has passed.
    fn too_late(&self) -> Closed {
        let reason = if self.state.lock().asking.is_some() {
            "it has not answered within the time of the request; ask again"
        } else {
            "the nodes before this one have not used its answer in time; ask again"
        };
        self.closed(reason.into())
    }

    fn closed(&self, reason: Arc<str>) -> Closed {
        let gate = Arc::clone(self.name());
        Closed { gate, reason }
    }
}

// === impl Closed ===

impl Closed {
    /// Describes gates that could not be asked.
    pub(crate) fn unasked() -> Self {
        Closed {
            gate: "".into(),
            reason: "it was not asked in time".into(),
        }
    }
}

// === impl State ===

impl State {
    /// Returns why a request is refused without another ask.
    fn refusal(&self, now: Instant) -> Option<Arc<str>> {
        let latest = self.latest.as_ref()?;
        let reason = latest.answer.reason()?;
        (now <= latest.answered + CLOSED_FOR).then(|| Arc::clone(reason))
    }

    /// Takes a pass if the latest answer allows one, and returns when the gate was asked.
    fn take(
        &mut self,
        now: Instant,
        settings: &GateSettings,
        wanted: &impl Wanted,
    ) -> Option<Instant> {
        let asked = self.usable(now, settings, wanted)?;
        self.outstanding += 1;
        Some(asked)
    }

    /// Returns when the gate was asked, if its latest answer allows a lock.
    fn usable(
        &self,
        now: Instant,
        settings: &GateSettings,
        wanted: &impl Wanted,
    ) -> Option<Instant> {
        let latest = self.latest.as_ref()?;
        let asked = latest.ask.since;
        let grants = latest.ask.grants.max(wanted.granted_since(asked));
        let is_usable = latest.answer == Answer::Open
            && now <= asked + settings.max_age
            && grants + self.outstanding < settings.allows;
        is_usable.then_some(asked)
    }

    /// Ends a pass.
    fn end(&mut self, is_used: bool) {
        self.outstanding -= 1;
        if is_used {
            let latest = self.latest.as_mut().map(|latest| &mut latest.ask);
            for ask in latest.into_iter().chain(&mut self.asking) {
                ask.grants += 1;
            }
        }
    }

    /// Begins an ask, unless one is in progress.
    fn begin(&mut self) -> bool {
        let is_new = self.asking.is_none();
        self.asking.get_or_insert_with(|| Asking {
            since: Instant::now(),
            at: Timestamp::now(),
            grants: 0,
        });
        is_new
    }

    /// Returns when the gate was asked last.
    fn last_asked(&self) -> Option<Instant> {
        let latest = self.latest.as_ref().map(|latest| &latest.ask);
        let last = self.asking.as_ref().or(latest)?;
        Some(last.since)
    }

    /// Counts a successful answer, which opens the gate only after enough others in a row.
    fn debounce(&mut self, answer: Answer, needed: u64) -> Answer {
        if answer != Answer::Open {
            self.successes = 0;
            return answer;
        }
        self.successes = (self.successes + 1).min(needed);
        if self.successes >= needed {
            return answer;
        }
        Answer::closed(&format!(
            "it opens after {needed} successful answers in a row, and has given {}",
            self.successes
        ))
    }
}

// === impl Pass ===

impl Pass {
    /// Returns when the gate was asked, on which the pass is based.
    pub(crate) fn asked(&self) -> Instant {
        self.asked
    }

    /// Reports whether a grant may be based on the pass: the answer is not too old, and the latest one is open too.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        let state = self.gate.state.lock();
        let is_open = |latest: &Asked| latest.answer == Answer::Open;
        now <= self.asked + self.gate.settings.max_age && state.latest.as_ref().is_some_and(is_open)
    }

    /// Returns the number of new locks that one answer allows. Of the grants of this server, the gate counts all groups;
    /// those of other servers since [`Pass::asked`] have to be subtracted.
    pub(crate) fn allows(&self) -> u64 {
        self.gate.settings.allows
    }

    /// Consumes the pass, because a lock was granted, or may have been.
    pub(crate) fn used(mut self) {
        self.is_used = true;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // The turn ends after this.
        self.gate.state.lock().end(self.is_used);
    }
}
