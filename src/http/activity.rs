//! The activity of a connection: what its client is doing, since when, and how many bytes the connection holds for it.
//!
//! hyper's own timeout for HTTP/1.1 covers the time from one response to the end of the next head. It would also be the
//! idle timeout, and would have to be as long. For HTTP/2 hyper has no such timeout.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Phase,
    /// The start of the phase.
    since: Instant,
    /// The bytes that were received, and that the connection may still hold: with HTTP/1.1 those since it was idle, with
    /// HTTP/2 all of them. The table of HPACK (RFC 7541, section 2.3.2) refers to the buffers in which its entries were
    /// received.
    received: usize,
    /// Those of them that were received after the head of the latest request. With HTTP/2 they may be a part of the
    /// next head.
    tail: usize,
    /// The bytes that TLS has received since it last returned any: a record or a message of the handshake that is
    /// incomplete.
    encrypted: usize,
    /// The maximum size of the list of fields that a part of a head decodes to. `None` with HTTP/1.1.
    http2_fields: Option<usize>,
    /// The number of requests with an incomplete body.
    incomplete: usize,
    /// The bytes of the buffers, of the requests that are being answered, and of the responses that the client has not
    /// read yet.
    held: usize,
    /// When each response that the client has not read yet was complete.
    unread: Vec<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was received since the last response.
    Idle,
    /// A request head is being received, or the first one is awaited.
    Head,
    /// This many requests are being answered. Body, group and store have timeouts of their own.
    Answering(usize),
}

/// A byte of an HTTP/2 head can stand for a field, which takes up to this many bytes.
const FIELD_BYTES: usize = 80;

/// Smaller parts of a head are not worth a record.
const SMALL_HEAD: usize = 128;

/// The bytes after which an HTTP/2 connection ends as soon as its requests are answered, because it may still hold all
/// of them. Zincati sends some 300 bytes per request.
const MAX_HTTP2_BYTES: usize = 64 << 10;

/// The bytes after which an HTTP/2 connection ends at once: its client goes on although it was told to stop.
const ABORT_HTTP2_BYTES: usize = 256 << 10;

/// How idle a connection is. Of two connections, the smaller one is closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Idleness {
    /// No request was received since then.
    Idle(Instant),
    /// The heads or bodies of all requests are incomplete since then.
    Receiving(Instant),
    /// Requests are being answered since then.
    Answering(Instant),
}

// === impl Idleness ===

impl Idleness {
    pub(super) fn is_answering(self) -> bool {
        matches!(self, Idleness::Answering(_))
    }
}

// === impl Activity ===

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Activity {
            phase: Phase::Head,
            since: now,
            received: 0,
            tail: 0,
            encrypted: 0,
            http2_fields: None,
            incomplete: 0,
            held: 0,
            unread: Vec::new(),
        }
    }

    /// Returns the bytes that the connection holds beyond those of an idle one. Its buffers double as they grow.
    pub(super) fn bytes(&self) -> usize {
        let fields = match (self.http2_fields, self.tail) {
            (None, _) | (_, 0..SMALL_HEAD) => 0,
            (Some(max), tail) => max.min(FIELD_BYTES * tail),
        };
        2 * (self.received + self.encrypted) + fields + self.held
    }

    pub(super) fn idleness(&self) -> Idleness {
        match self.phase {
            Phase::Idle => Idleness::Idle(self.since),
            Phase::Head => Idleness::Receiving(self.since),
            Phase::Answering(requests) if requests == self.incomplete => {
                Idleness::Receiving(self.since)
            }
            Phase::Answering(_) => Idleness::Answering(self.since),
        }
    }

    /// Records bytes that the connection holds until its end.
    pub(super) fn allocated(&mut self, bytes: usize) {
        self.held += bytes;
    }

    /// Records that the connection speaks HTTP/2. A part of a head decodes to a list of fields of at most `max_fields`
    /// bytes.
    pub(super) fn speaks_http2(&mut self, max_fields: usize) {
        self.http2_fields = Some(max_fields);
    }

    /// Restarts the wait for the first request.
    pub(super) fn handshake_ended(&mut self, now: Instant) {
        (self.phase, self.since) = (Phase::Head, now);
    }

    /// Records bytes that TLS has received.
    pub(super) fn received_encrypted(&mut self, bytes: usize) {
        self.encrypted += bytes;
    }

    /// Reports whether TLS has received any bytes since it last returned some.
    pub(super) fn has_received_encrypted(&self) -> bool {
        self.encrypted > 0
    }

    /// Records that what TLS has returned was discarded.
    pub(super) fn discarded(&mut self) {
        self.encrypted = 0;
    }

    /// Records that bytes were received. With HTTP/1.1, a request head begins behind a response; with HTTP/2, they may be
    /// part of anything.
    ///
    /// Reports whether the connection should end: the first time as soon as its requests are answered, then at once.
    pub(super) fn received(&mut self, bytes: usize, now: impl FnOnce() -> Instant) -> bool {
        let before = self.received;
        self.encrypted = 0;
        self.received += bytes;
        self.tail += bytes;
        if self.phase == Phase::Idle && self.http2_fields.is_none() {
            (self.phase, self.since) = (Phase::Head, now());
        }
        let exceeds = |max| before <= max && self.received > max;
        self.http2_fields.is_some() && (exceeds(MAX_HTTP2_BYTES) || exceeds(ABORT_HTTP2_BYTES))
    }

    /// Reports whether the connection should end because of what it has received.
    pub(super) fn is_worn_out(&self) -> bool {
        self.http2_fields.is_some() && self.received > MAX_HTTP2_BYTES
    }

    /// Records that the head of a request is complete. The connection holds `bytes` for it until it is answered.
    pub(super) fn request(&mut self, bytes: usize, now: Instant) {
        self.held += bytes;
        self.tail = 0;
        match &mut self.phase {
            Phase::Answering(requests) => *requests += 1,
            Phase::Idle | Phase::Head => {
                (self.phase, self.since) = (Phase::Answering(1), now);
            }
        }
    }

    /// Records that the body of a request is incomplete.
    pub(super) fn body_begins(&mut self) {
        self.incomplete += 1;
    }

    /// Records that a body is complete, or is not wanted any more.
    pub(super) fn body_ended(&mut self) {
        self.incomplete -= 1;
    }

    /// Records that a request is answered, or that its client no longer waits.
    pub(super) fn answered(&mut self, bytes: usize, now: Instant) {
        self.held -= bytes;
        match &mut self.phase {
            Phase::Answering(requests @ 2..) => *requests -= 1,
            Phase::Answering(_) | Phase::Idle | Phase::Head => {
                (self.phase, self.since) = (Phase::Idle, now);
                // All bytes before the latest request are processed.
                if self.http2_fields.is_none() {
                    self.received = self.tail;
                }
            }
        }
    }

    /// Records a response with a body. The connection holds `bytes` for it until the client has read it.
    pub(super) fn response(&mut self, bytes: usize, now: Instant) {
        self.held += bytes;
        self.unread.push(now);
    }

    /// Records that the client has read a response, or never will.
    pub(super) fn response_ended(&mut self, bytes: usize, since: Instant) {
        self.held -= bytes;
        if let Some(index) = self.unread.iter().position(|unread| *unread == since) {
            self.unread.swap_remove(index);
        }
    }

    /// Returns the time at which the client exceeds a timeout, if nothing happens before.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let of_phase = match self.phase {
            Phase::Idle => Some(self.since + limits.idle_timeout),
            Phase::Head => Some(self.since + limits.header_timeout),
            Phase::Answering(_) => None,
        };
        let of_responses = self.unread.iter().min();
        let of_responses = of_responses.map(|since| *since + limits.response_timeout);
        of_phase.into_iter().chain(of_responses).min()
    }
}

/// Returns the shortest timeout: no deadline that begins later is earlier than this.
pub(super) fn shortest_timeout(limits: &Limits) -> Duration {
    limits
        .idle_timeout
        .min(limits.header_timeout)
        .min(limits.response_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        let text = "[service]\ntls = false\n[embedded]\npath = \"x\"\n\
                    [limits]\nheader_timeout_ms = 1000\nidle_timeout_ms = 5000\nresponse_timeout_ms = 2000\n";
        let loaded = crate::config::parse("c.toml".as_ref(), text).unwrap();
        loaded.settings.limits
    }

    #[test]
    fn heads_and_pauses_have_separate_timeouts_and_answers_have_none() {
        let start = Instant::now();
        let after = |seconds: u32| start + seconds * SECOND;
        let mut activity = Activity::new(start);
        let deadline = |activity: &Activity| activity.deadline(&limits());
        assert_eq!(deadline(&activity), Some(after(1)));
        activity.request(0, after(0));
        activity.request(0, after(10));
        assert_eq!(deadline(&activity), None);
        activity.answered(0, after(20));
        assert_eq!(deadline(&activity), None);
        activity.answered(0, after(30));
        assert_eq!(deadline(&activity), Some(after(35)));
        activity.received(1, || after(32));
        assert_eq!(deadline(&activity), Some(after(33)));
        // More bytes give no more time.
        activity.received(1, || after(33));
        assert_eq!(deadline(&activity), Some(after(33)));
        activity.handshake_ended(after(40));
        assert_eq!(deadline(&activity), Some(after(41)));
    }

    #[test]
    fn the_oldest_response_that_is_not_read_has_a_timeout() {
        let start = Instant::now();
        let after = |seconds: u32| start + seconds * SECOND;
        let mut activity = Activity::new(start);
        activity.request(1, after(0));
        activity.response(100, after(0));
        activity.answered(1, after(0));
        activity.response(100, after(1));
        assert_eq!(activity.deadline(&limits()), Some(after(2)));
        activity.response_ended(100, after(0));
        assert_eq!(activity.deadline(&limits()), Some(after(3)));
        activity.response_ended(100, after(1));
        assert_eq!(activity.deadline(&limits()), Some(after(5)), "idle");
        assert_eq!(activity.bytes(), 0);
    }

    #[test]
    fn received_bytes_are_held_until_the_connection_is_idle() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        activity.received(30, || now);
        activity.request(7, now);
        activity.received(90, || now);
        activity.request(5, now);
        assert_eq!(activity.bytes(), 2 * 120 + 12);
        activity.answered(7, now);
        assert_eq!(activity.bytes(), 2 * 120 + 5);
        activity.response(50, now);
        activity.answered(5, now);
        assert_eq!(activity.bytes(), 50);
    }

    #[test]
    fn an_http_2_connection_holds_all_that_it_has_received_and_does_not_last() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        activity.speaks_http2(0);
        for kib in 1..300 {
            let is_worn_out = activity.received(1024, || now);
            assert_eq!(is_worn_out, kib == 65 || kib == 257, "{kib}");
            assert_eq!(activity.is_worn_out(), kib > 64);
            activity.request(7, now);
            activity.answered(7, now);
            assert_eq!(activity.bytes(), 2 * (kib << 10));
        }
    }

    #[test]
    fn bytes_are_held_below_tls_until_it_returns_some() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        activity.received_encrypted(300);
        activity.handshake_ended(now);
        activity.received_encrypted(60_000);
        assert_eq!(activity.bytes(), 2 * 60_300);
        activity.received(200, || now);
        assert_eq!(activity.bytes(), 2 * 200);
    }

    #[test]
    fn an_incomplete_head_of_http_2_may_have_been_decoded_to_many_fields() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        activity.speaks_http2(50_000);
        activity.received(127, || now);
        assert_eq!(activity.bytes(), 254);
        activity.received(73, || now);
        assert_eq!(activity.bytes(), 400 + 16_000);
        activity.request(0, now);
        assert_eq!(activity.bytes(), 400);
        activity.received(1000, || now);
        assert_eq!(activity.bytes(), 2400 + 50_000);
        // It may be the head of the next request, whatever becomes of this one.
        activity.answered(0, now);
        assert_eq!(activity.bytes(), 2400 + 50_000);
    }

    #[test]
    fn idle_connections_come_before_incomplete_requests_and_these_before_complete_ones() {
        let start = Instant::now();
        let later = start + SECOND;
        let head = Activity::new(start);
        let mut answering = Activity::new(start);
        answering.request(0, start);
        let mut idle = Activity::new(start);
        idle.request(0, later);
        idle.answered(0, later);
        let mut receiving = Activity::new(start);
        receiving.request(0, later);
        receiving.body_begins();
        let order = [&idle, &head, &receiving, &answering].map(Activity::idleness);
        assert!(order.is_sorted(), "{order:?}");
        receiving.body_ended();
        assert!(receiving.idleness().is_answering());
        receiving.body_begins();
        assert!(!receiving.idleness().is_answering());
        assert!(Activity::new(start).idleness() < Activity::new(later).idleness());
    }
}
