//! The lines of the log that wait to be written, bounded in bytes, and the loop that writes them.
//!
//! A slow or blocked reader delays neither a request nor, for longer than [`FLUSH_TIMEOUT`], the exit of the process.

use std::io::{ErrorKind, Write};
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus::IntCounter;

/// The maximum size of all lines that are not written yet, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// The capacity that a buffer keeps for the next lines.
const KEPT_BYTES: usize = 64 << 10;

/// The time that a line waits for others: under load, many lines share one system call and one wakeup of the thread.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

/// The maximum time that the exit waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The lines that wait to be written.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to write, or the last line was written.
    changed: Condvar,
    /// Counts the dropped lines.
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    /// Complete lines.
    waiting: Vec<u8>,
    /// The size of the lines that are being written.
    in_flight: usize,
    /// The number of lines that were dropped and not reported yet.
    dropped: u64,
    /// No further lines are expected.
    closing: bool,
    /// All lines are written.
    closed: bool,
}

/// The output of the log, to which a write may fail in the middle of a line.
struct Output<W, R> {
    output: W,
    /// Returns the line that stands for this number of missing lines.
    report: R,
    /// The number of missing lines that are not reported yet.
    missing: u64,
    /// The last line was not written completely.
    is_torn: bool,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(dropped: IntCounter) -> Self {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped,
        }
    }

    /// Appends a line, or drops it if there is no room. From the first dropped line on, all are dropped until the
    /// waiting ones are taken: the report stands exactly where lines are missing.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.state.lock();
        if state.dropped > 0 || state.waiting.len() + state.in_flight + line.len() > MAX_BYTES {
            state.dropped += 1;
            self.dropped.inc();
        } else {
            state.waiting.extend_from_slice(line.as_bytes());
        }
        self.changed.notify_all();
    }

    /// Writes the lines until the queue is closed. Where lines are missing, it writes `report(n)`, a line that names their
    /// number.
    pub(super) fn write_to(&self, output: impl Write, report: impl Fn(u64) -> String) {
        let mut output = Output::new(output, report);
        let mut lines = Vec::new();
        let mut state = self.state.lock();
        loop {
            while state.waiting.is_empty() && state.dropped == 0 && !state.closing {
                self.changed.wait(&mut state);
            }
            if state.waiting.is_empty() && state.dropped == 0 {
                state.closed = true;
                self.changed.notify_all();
                return;
            }
            mem::swap(&mut lines, &mut state.waiting);
            state.in_flight = lines.len();
            let dropped = mem::take(&mut state.dropped);
            let is_closing = state.closing;
            MutexGuard::unlocked(&mut state, || {
                self.dropped.inc_by(output.write_batch(&lines, dropped));
                lines.clear();
                lines.shrink_to(KEPT_BYTES);
                if !is_closing {
                    thread::sleep(BATCH_INTERVAL);
                }
            });
            state.in_flight = 0;
        }
    }

    /// Waits until all lines are written, but no longer than [`FLUSH_TIMEOUT`].
    pub(super) fn close(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut state = self.state.lock();
        state.closing = true;
        self.changed.notify_all();
        while !state.closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

// === impl Output ===

impl<W: Write, R: Fn(u64) -> String> Output<W, R> {
    fn new(output: W, report: R) -> Self {
        Output {
            output,
            report,
            missing: 0,
            is_torn: false,
        }
    }

    /// Writes lines that are followed by this number of dropped ones. Returns the number of lines that could not be
    /// written.
    fn write_batch(&mut self, lines: &[u8], dropped: u64) -> u64 {
        self.report();
        let lost = self.write_lines(lines);
        self.missing += lost + dropped;
        self.report();
        lost
    }

    /// Reports the missing lines. Without success, the next batch begins with the report.
    fn report(&mut self) {
        if self.missing > 0 {
            let line = (self.report)(self.missing);
            if self.write_lines(line.as_bytes()) == 0 {
                self.missing = 0;
            }
        }
    }

    /// Writes lines, and returns the number of those that were not written completely.
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        let mut written = 0;
        if !self.is_torn || self.write(b"\n") == 1 {
            written = self.write(lines);
            self.is_torn = !matches!(lines[..written].last(), None | Some(b'\n'));
        }
        let rest = &lines[written..];
        rest.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Writes until a write fails, and returns the number of bytes that were written.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(more) => written += more,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A reader that takes each write only when the test lets it, and then forwards it.
    struct Reader {
        allowed: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.allowed.recv().map_err(std::io::Error::other)?;
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.written.send(text).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Log {
        queue: Arc<Queue>,
        allow: Sender<()>,
        written: Receiver<String>,
        thread: thread::JoinHandle<()>,
    }

    impl Log {
        fn start() -> Self {
            let counter = IntCounter::new("dropped", "-").unwrap();
            let queue = Arc::new(Queue::new(counter));
            let (allow, allowed) = channel();
            let (sender, written) = channel();
            let writer = Arc::clone(&queue);
            let reader = Reader {
                allowed,
                written: sender,
            };
            let thread = thread::spawn(move || {
                writer.write_to(reader, |dropped| format!("dropped {dropped}\n"));
            });
            Log {
                queue,
                allow,
                written,
                thread,
            }
        }

        /// Lets the reader take one write.
        fn read(&self) -> String {
            self.allow.send(()).unwrap();
            self.written.recv().unwrap()
        }

        fn wait_until_busy(&self) {
            while self.queue.state.lock().in_flight == 0 {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn invariant_8_lines_over_the_bound_are_dropped_counted_and_reported_where_they_are_missing() {
        let log = Log::start();
        log.queue.push("first\n");
        log.wait_until_busy();
        let long = format!("{}\n", "x".repeat(MAX_BYTES / 2));
        log.queue.push(&long);
        for dropped in [&*long, "short, but behind a dropped one\n"] {
            log.queue.push(dropped);
        }
        assert_eq!(log.queue.dropped.get(), 2);
        assert_eq!(log.read(), "first\n");
        assert_eq!(log.read(), long);
        // The report is being written, so there is room again.
        log.queue.push("next\n");
        assert_eq!(log.read(), "dropped 2\n");
        assert_eq!(log.read(), "next\n");
        log.queue.close();
        log.thread.join().unwrap();
        assert_eq!(log.queue.dropped.get(), 2);
    }

    #[test]
    fn the_lines_that_are_being_written_count_too() {
        let log = Log::start();
        let most = format!("{}\n", "x".repeat(MAX_BYTES - 2));
        log.queue.push(&most);
        log.wait_until_busy();
        log.queue.push("\n");
        assert_eq!(log.queue.dropped.get(), 0);
        log.queue.push("\n");
        assert_eq!(log.queue.dropped.get(), 1);
    }

    #[test]
    fn the_exit_waits_for_the_last_lines_but_not_forever() {
        let log = Log::start();
        log.queue.push("last\n");
        log.allow.send(()).unwrap();
        log.queue.close();
        log.thread.join().unwrap();
        assert_eq!(log.written.try_recv().unwrap(), "last\n");

        let blocked = Log::start();
        blocked.queue.push("never read\n");
        blocked.queue.close();
        assert!(!blocked.thread.is_finished());
    }

    #[test]
    fn lines_that_cannot_be_written_count_as_dropped() {
        let log = Log::start();
        log.queue.push("a\nb\n");
        // From now on, each write fails.
        drop(log.allow);
        log.queue.close();
        log.thread.join().unwrap();
        assert_eq!(log.queue.dropped.get(), 2);
    }

    /// A disk with room for some bytes. Each write is interrupted once.
    #[derive(Default)]
    struct Disk {
        room: usize,
        content: String,
        is_interrupted: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            if self.room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            let text = std::str::from_utf8(&bytes[..count]).unwrap();
            self.content.push_str(text);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_is_ended_and_only_lines_that_are_not_complete_count_as_dropped() {
        let mut log = Output::new(Disk::default(), |missing| format!("missing {missing}\n"));
        log.output.room = "one\ntwo\nth".len();
        assert_eq!(log.write_batch(b"one\ntwo\nthree\nfour\n", 0), 2);
        assert_eq!(log.write_batch(b"five\n", 3), 1);
        // The report is torn as well.
        log.output.room = "\nmiss".len();
        assert_eq!(log.write_batch(b"six\n", 0), 1);
        log.output.room = 100;
        assert_eq!(log.write_batch(b"seven\n", 0), 0);
        assert_eq!(log.write_batch(b"eight\n", 1), 0);
        let expected = "one\ntwo\nth\nmiss\nmissing 7\nseven\neight\nmissing 1\n";
        assert_eq!(log.output.content, expected);
    }
}
