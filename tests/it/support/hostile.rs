//! A client that tries to exhaust the memory of the server. It speaks HTTP/2 frame by frame, and so can do what no
//! library allows.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// What a hostile client does on its connection.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// Requests with long groups, which the responses would repeat. They are not read.
    Echo,
    /// Large heads, each followed by a body that does not end.
    SlowBodies,
    /// A head that does not end.
    EndlessHead,
    /// A head that does not end, with one byte for each field.
    IndexedHead,
    /// This number of heads of 15,000 bytes, of which one field becomes an entry in the table of HPACK, so that the server
    /// keeps the buffers in which they were received.
    PinnedBuffers(usize),
    /// A handshake that does not end.
    Handshake,
    /// Requests for the documents of the status listener, which are not read.
    Documents,
}

/// More than the server accepts, so that the connection holds as much as it can, but not so many that it is closed.
const STREAMS: usize = 12;

/// The number of entries of the smallest size, with a name of 5 bytes and a value of one byte, that the table of HPACK
/// has room for (RFC 7541, section 4.1).
pub const TABLE_ENTRIES: usize = 4096 / (32 + 5 + 1);

/// A connection of a hostile client.
pub enum Hostile {
    /// Without TLS.
    Tcp(TcpStream),
    /// With TLS and HTTP/2.
    Http2(Box<DeafConnection>),
}

/// A connection that never opens its windows, so that it receives no response.
pub struct DeafConnection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next_stream: u32,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The largest frame that every server accepts.
const MAX_FRAME: usize = 16_384;

impl DeafConnection {
    fn open(socket: TcpStream, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
        let tls = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        let mut connection = DeafConnection {
            stream: StreamOwned::new(tls, socket),
            next_stream: 1,
        };
        connection
            .stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        connection.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])?;
        Ok(connection)
    }

    /// Sends the head of a request, in as many frames as it needs, and returns its stream.
    fn head(&mut self, method: &str, path: &str, fields: &[(String, String)]) -> io::Result<u32> {
        let (stream, block) = (self.next_stream, block(method, path, fields));
        self.next_stream += 2;
        let mut kind = HEADERS;
        let mut chunks = block.chunks(MAX_FRAME).peekable();
        while let Some(chunk) = chunks.next() {
            let is_last = chunks.peek().is_none();
            let end = if is_last { END_HEADERS } else { 0 };
            let end_stream = if method == "GET" && kind == HEADERS {
                END_STREAM
            } else {
                0
            };
            self.frame(kind, end | end_stream, stream, chunk)?;
            kind = CONTINUATION;
        }
        Ok(stream)
    }

    /// Sends a head that never ends, in which each byte stands for the field "a".
    fn indexed_head(&mut self) -> io::Result<()> {
        let mut block = block("POST", "/v1/pre-reboot", &[]);
        // RFC 7541, sections 6.2.1 and 6.1: adds the field to the table as the entry 62, and repeats it.
        block.extend_from_slice(&[0x40, 1, b'a', 0]);
        block.resize(block.len() + 4000, 0x80 | 62);
        self.frame(HEADERS, 0, self.next_stream, &block)
    }

    /// Sends the head of a request for "/", which is added to the table of HPACK, and a field that is not.
    fn pinning_head(&mut self) -> io::Result<()> {
        // RFC 7541, appendix A: 2 is the method GET, 7 is the scheme https, 4 is the name ":path".
        let mut block = vec![0x80 | 2, 0x80 | 7, 0x40 | 4, 1, b'/'];
        block.extend_from_slice(&[0, 1, b'x']);
        push_length(&mut block, 15_000);
        block.resize(block.len() + 15_000, b'x');
        let stream = self.next_stream;
        self.next_stream += 2;
        self.frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
    }

    /// Sends a head that never ends.
    fn endless_head(&mut self, fields: &[(String, String)]) -> io::Result<()> {
        let block = block("POST", "/v1/pre-reboot", fields);
        let (first, rest) = block.split_at(block.len().min(MAX_FRAME));
        self.frame(HEADERS, 0, self.next_stream, first)?;
        for chunk in rest.chunks(MAX_FRAME) {
            self.frame(CONTINUATION, 0, self.next_stream, chunk)?;
        }
        Ok(())
    }

    /// Sends a part of a body, or the rest of it.
    fn body(&mut self, stream: u32, body: &[u8], is_last: bool) -> io::Result<()> {
        self.frame(DATA, if is_last { END_STREAM } else { 0 }, stream, body)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(9 + payload.len());
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }
}

fn connect(from: usize, to: SocketAddr) -> io::Result<TcpStream> {
    let from = u16::try_from(from + 2).map_err(io::Error::other)?;
    let [high, low] = from.to_be_bytes();
    let from = Ipv4Addr::new(127, 0, high, low);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.into())?;
    let socket = TcpStream::from(socket);
    // A server that has closed the connection, or does not read, must not hold the test up.
    socket.set_write_timeout(Some(Duration::from_secs(5)))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// Sends a ClientHello of 60,000 bytes, except for its last byte (RFC 8446, sections 4 and 5.1).
fn endless_handshake(socket: &mut TcpStream) -> io::Result<()> {
    let mut hello = vec![1];
    hello.extend_from_slice(&60_000_u32.to_be_bytes()[1..]);
    hello.resize(4 + 60_000 - 1, 0);
    for fragment in hello.chunks(MAX_FRAME) {
        let [high, low] = (fragment.len() as u16).to_be_bytes();
        socket.write_all(&[22, 3, 1, high, low])?;
        socket.write_all(fragment)?;
    }
    Ok(())
}

/// Encodes a head without compression (RFC 7541, section 6.2.2).
fn block(method: &str, path: &str, fields: &[(String, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut push = |name: &str, value: &str| {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    };
    push(":method", method);
    push(":scheme", "https");
    push(":path", path);
    push(":authority", "airlock.example");
    push("fleet-lock-protocol", "true");
    for (name, value) in fields {
        push(name, value);
    }
    block
}

/// Encodes the length of a string (RFC 7541, section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        block.push(length as u8);
        return;
    }
    block.push(PREFIX as u8);
    let mut rest = length - PREFIX;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

impl Attack {
    /// Connects from the loopback address with this number, and attacks. `None`: the server refuses the connection.
    ///
    /// The server may close it at any time, so that the attack may be incomplete.
    pub fn start(self, from: usize, to: SocketAddr, tls: &Arc<ClientConfig>) -> Option<Hostile> {
        let socket = connect(from, to).ok()?;
        if let Attack::Handshake = self {
            let mut socket = socket;
            let _ = endless_handshake(&mut socket);
            return Some(Hostile::Tcp(socket));
        }
        let mut connection = DeafConnection::open(socket, tls).ok()?;
        let _ = self.run(&mut connection);
        Some(Hostile::Http2(Box::new(connection)))
    }

    fn run(self, connection: &mut DeafConnection) -> io::Result<()> {
        let fields = |count: usize, size: usize| -> Vec<(String, String)> {
            let fields = 0..count;
            fields
                .map(|number| (format!("x{number}"), "x".repeat(size)))
                .collect()
        };
        match self {
            Attack::EndlessHead => return connection.endless_head(&fields(60, 1000)),
            Attack::IndexedHead => return connection.indexed_head(),
            Attack::PinnedBuffers(heads) => {
                return (0..heads).try_for_each(|_| connection.pinning_head());
            }
            Attack::Echo | Attack::SlowBodies | Attack::Documents | Attack::Handshake => {}
        }
        for number in 0..STREAMS {
            match self {
                Attack::Echo => {
                    // Each of these characters is escaped.
                    let group = "\u{7f}".repeat(16_000);
                    let stream = connection.head("POST", "/v1/pre-reboot", &[])?;
                    let body = format!(r#"{{"id":"n","group":"{group}"}}"#);
                    connection.body(stream, body.as_bytes(), true)?;
                }
                Attack::SlowBodies => {
                    let stream = connection.head("POST", "/v1/pre-reboot", &fields(50, 230))?;
                    connection.body(stream, &[b' '; 2000], false)?;
                }
                Attack::Documents => {
                    let path = ["/", "/v1/status", "/metrics"][number % 3];
                    connection.head("GET", path, &[])?;
                }
                Attack::EndlessHead
                | Attack::IndexedHead
                | Attack::PinnedBuffers(_)
                | Attack::Handshake => {}
            }
        }
        Ok(())
    }
}

/// Returns the configuration of a TLS client that trusts the CA in the file `ca`, and speaks HTTP/2.
pub fn client_config(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
