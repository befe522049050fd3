//! The load generator: keep-alive HTTP/1.1 connections on one thread. Each connection sends prepared bytes, one
//! request at a time, and parses as little of the response as possible. Each run measures the generator's own
//! maximum against [`echo`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;

/// The requests of one connection, sent over and over.
pub(crate) struct Connection {
    pub(crate) server: SocketAddr,
    pub(crate) requests: Vec<Vec<u8>>,
    /// How long a slot is held after a grant.
    pub(crate) hold: Duration,
}

/// The end of a load.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// This time has passed.
    Elapsed(Duration),
    /// Each connection has received this number of responses.
    Responses(u64),
}

/// The latencies of a load, with microsecond precision and three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

/// The result of a load.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Latencies,
    pub(crate) granted: u64,
    /// Refusals because all slots are taken. These are regular responses.
    pub(crate) refused: u64,
    /// All other responses, and requests without one.
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
}

/// The result that all tasks of a load write to. They run on one thread, so the lock is never contended.
pub(crate) type SharedLoad = Arc<Mutex<Load>>;

/// Returns the bytes of one request of a node.
pub(crate) fn request(endpoint: &str, group: &str, id: &str) -> Vec<u8> {
    let body = format!(r#"{{"client_params":{{"id":"{id}","group":"{group}"}}}}"#);
    format!(
        "POST /v1/{endpoint} HTTP/1.1\r\nhost: bench\r\nfleet-lock-protocol: true\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Opens all connections, then starts them at the same time. Returns when each has ended.
pub(crate) async fn run(connections: Vec<Connection>, until: Until) -> Load {
    let mut open = Vec::new();
    for connection in connections {
        let stream = TcpStream::connect(connection.server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        open.push((stream, connection));
    }
    let load = SharedLoad::default();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (stream, connection) in open {
        tasks.spawn(drive(stream, connection, began, until, Arc::clone(&load)));
    }
    finish(tasks, load, began).await
}

/// Waits until all tasks have ended and returns their result.
pub(crate) async fn finish(mut tasks: JoinSet<()>, load: SharedLoad, began: Instant) -> Load {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let elapsed = began.elapsed();
    let load = std::mem::take(&mut *load.lock().unwrap());
    Load { elapsed, ..load }
}

async fn drive(
    mut stream: TcpStream,
    connection: Connection,
    began: Instant,
    until: Until,
    load: SharedLoad,
) {
    let mut buffer = vec![0; 4096];
    for (responses, request) in (0..).zip(connection.requests.iter().cycle()) {
        let enough = match until {
            Until::Elapsed(duration) => began.elapsed() >= duration,
            Until::Responses(count) => responses >= count,
        };
        if enough {
            break;
        }
        let sent = Instant::now();
        let response = async {
            stream.write_all(request).await?;
            read_response(&mut stream, &mut buffer).await
        };
        let response = match time::timeout(Duration::from_secs(30), response).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                load.lock().unwrap().fail(&error.to_string());
                break;
            }
            Err(_) => {
                load.lock().unwrap().fail("no response within 30 s");
                break;
            }
        };
        let granted = load.lock().unwrap().count(sent.elapsed(), response);
        if granted && !connection.hold.is_zero() {
            time::sleep(connection.hold).await;
        }
    }
}

/// Reads one whole response: head and body.
pub(crate) async fn read_response<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &'a mut [u8],
) -> std::io::Result<&'a [u8]> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some(head) = find(&buffer[..filled], b"\r\n\r\n")
            && filled >= head + 4 + content_length(&buffer[..head])
        {
            return Ok(&buffer[..filled]);
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"content-length: ";
    let Some(at) = find(head, name) else { return 0 };
    let digits = head[at + name.len()..].iter();
    digits
        .take_while(|digit| digit.is_ascii_digit())
        .fold(0, |length, digit| 10 * length + usize::from(digit - b'0'))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Starts a server on its own thread that answers every request at once with the same 200, and returns its
/// address. The rate of this server is the maximum that the generator can measure.
pub(crate) fn echo() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if stream.write_all(response).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    address
}

// === impl Latencies ===

impl Default for Latencies {
    fn default() -> Self {
        const SIGNIFICANT_DIGITS: u8 = 3;
        Latencies(Histogram::new(SIGNIFICANT_DIGITS).unwrap())
    }
}

impl Latencies {
    /// Records one latency.
    pub(crate) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap();
        self.0.record(micros).unwrap();
    }

    /// Returns the number of recorded latencies.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns a percentile in microseconds, 0 if nothing is recorded.
    pub(crate) fn percentile(&self, percent: u32) -> u32 {
        let micros = self.0.value_at_quantile(f64::from(percent) / 100.0);
        u32::try_from(micros).unwrap_or(u32::MAX)
    }
}

// === impl Load ===

impl Load {
    /// Counts one response and its latency. Returns whether the response is a grant.
    pub(crate) fn count(&mut self, took: Duration, response: &[u8]) -> bool {
        self.latencies.record(took);
        let granted = response.starts_with(b"HTTP/1.1 200");
        if granted {
            self.granted += 1;
        } else if find(response, b"failed_lock").is_some() {
            self.refused += 1;
        } else {
            self.fail(&String::from_utf8_lossy(response));
        }
        granted
    }

    /// Counts one failure.
    pub(crate) fn fail(&mut self, reason: &str) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| reason.to_owned());
    }

    /// Returns the number of responses.
    pub(crate) fn responses(&self) -> u64 {
        self.latencies.count()
    }

    /// Returns the number of responses per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.responses() as f64 / self.elapsed.as_secs_f64()
    }
}
