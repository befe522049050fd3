//! The load: keep-alive HTTP/1.1 connections on one thread, each a request at a time, prepared bytes out and
//! as little parsing in as will do. What it can do at most is measured against [`echo`] in each run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;

/// What one connection sends, over and over.
pub struct Connection {
    pub server: SocketAddr,
    pub requests: Vec<Vec<u8>>,
    /// How long a slot is held after a grant.
    pub hold: Duration,
}

/// When it is enough.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    /// Each connection has had so many answers.
    Answers(u64),
}

/// What came of it.
#[derive(Default)]
pub struct Load {
    pub elapsed: Duration,
    /// Of every answer, in microseconds, sorted.
    pub latencies: Vec<u32>,
    pub granted: u64,
    /// All slots are taken: an answer, too.
    pub refused: u64,
    /// Anything else.
    pub failed: u64,
    pub first_failure: Option<String>,
}

/// The bytes of one request of a node.
pub fn request(endpoint: &str, group: &str, id: &str) -> Vec<u8> {
    let body = format!(r#"{{"client_params":{{"id":"{id}","group":"{group}"}}}}"#);
    format!(
        "POST /v1/{endpoint} HTTP/1.1\r\nhost: bench\r\nfleet-lock-protocol: true\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Connects all, then lets all go at once. Returns when each is done.
pub async fn run(connections: Vec<Connection>, until: Until) -> Load {
    let mut open = Vec::new();
    for connection in connections {
        let stream = TcpStream::connect(connection.server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        open.push((stream, connection));
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (stream, connection) in open {
        tasks.spawn(drive(stream, connection, began, until));
    }
    collect(tasks, began).await
}

/// What came of all of them, once each is done.
pub async fn collect(mut tasks: JoinSet<Load>, began: Instant) -> Load {
    let mut all = Load::default();
    while let Some(one) = tasks.join_next().await {
        all.add(one.unwrap());
    }
    all.elapsed = began.elapsed();
    all.latencies.sort_unstable();
    all
}

async fn drive(
    mut stream: TcpStream,
    connection: Connection,
    began: Instant,
    until: Until,
) -> Load {
    let mut load = Load::default();
    let mut buffer = vec![0; 4096];
    for request in connection.requests.iter().cycle() {
        let enough = match until {
            Until::Elapsed(duration) => began.elapsed() >= duration,
            Until::Answers(count) => load.latencies.len() as u64 >= count,
        };
        if enough {
            break;
        }
        let sent = Instant::now();
        let answer = async {
            stream.write_all(request).await?;
            read_answer(&mut stream, &mut buffer).await
        };
        let answer = match time::timeout(Duration::from_secs(30), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                load.fail(&error.to_string());
                break;
            }
            Err(_) => {
                load.fail("no answer within 30 s");
                break;
            }
        };
        let before = load.granted;
        load.count(sent.elapsed(), answer);
        if load.granted > before && !connection.hold.is_zero() {
            time::sleep(connection.hold).await;
        }
    }
    load
}

/// One whole answer: head and body.
pub async fn read_answer<'a>(
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

/// A server that answers everything at once with the same 200, on a thread of its own; its address. What
/// the generator gets from it is the most that it can measure.
pub fn echo() -> SocketAddr {
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
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if stream.write_all(answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    address
}

// === impl Load ===

impl Load {
    /// Counts one answer that came after so long.
    pub fn count(&mut self, took: Duration, answer: &[u8]) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.latencies.push(took);
        if answer.starts_with(b"HTTP/1.1 200") {
            self.granted += 1;
        } else if find(answer, b"failed_lock").is_some() {
            self.refused += 1;
        } else {
            self.fail(&String::from_utf8_lossy(answer));
        }
    }

    pub fn fail(&mut self, reason: &str) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| reason.to_owned());
    }

    fn add(&mut self, other: Load) {
        self.latencies.extend(other.latencies);
        self.granted += other.granted;
        self.refused += other.refused;
        self.failed += other.failed;
        if self.first_failure.is_none() {
            self.first_failure = other.first_failure;
        }
    }

    pub fn answers(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub fn per_second(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds.
    pub fn percentile(&self, percent: usize) -> u32 {
        let last = self.latencies.len().saturating_sub(1);
        let index = (self.latencies.len() * percent / 100).min(last);
        self.latencies.get(index).copied().unwrap_or_default()
    }
}
