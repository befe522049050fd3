//! Clients that try to exhaust the memory of the server, beside an honest node.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use airlock_test_support::SetOnDrop;
use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client::Client;
use airlock_test_support::hostile::{Attack, Hostile, TABLE_ENTRIES, client_config};
use airlock_test_support::pki::Ca;
use airlock_test_support::process::{forget_peak, peak_resident_bytes, resident_bytes};
use airlock_test_support::raise_open_files;
use reqwest::blocking::Client as Http;

/// Far above the time that a request takes beside these clients, and far below a timeout of Zincati.
const SERVED: Duration = Duration::from_secs(5);

const MIB: u64 = 1 << 20;

const GROUPS: &str = "[[lock.groups]]\nname = \"large\"\nslots = 10000\n";

/// Starts a server with TLS on both listeners; `service` is the rest of that section, and `more` of the configuration.
fn tls_server(service: &str, more: &str) -> (Airlock, Ca) {
    let ca = Ca::new("ca");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let (cert, key) = (pair.cert, pair.key);
    let tls = format!("tls = true\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}");
    let listen = LISTEN
        .replacen("tls = false", &format!("{tls}\n{service}"), 1)
        .replacen("[status]", "[status]\ntls = true", 1);
    let config = format!("{listen}[embedded]\npath = \"{{folder}}/airlock.db\"\n{GROUPS}{more}");
    (Airlock::start_with(&config, &["-v"]), ca)
}

/// What an attack achieved.
struct Outcome {
    /// How much the resident memory of the server grew at most, in bytes.
    grown: u64,
    /// The figures for documentation.
    text: String,
}

/// Attacks from `addresses` addresses, over `connections` connections, while an honest node or operator sends
/// requests.
fn attack(
    airlock: &mut Airlock,
    ca: &Ca,
    attack: Attack,
    connections: usize,
    addresses: usize,
) -> Outcome {
    let tls = client_config(&ca.path());
    let url = match attack {
        Attack::Documents => airlock.status_url(),
        _ => airlock.url(),
    };
    let to: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let honest = Honest::new(airlock, ca, attack);
    // The first request allocates what all later ones use.
    honest.request();
    let pid = airlock.process().id();
    forget_peak(pid);
    let before = resident_bytes(pid);
    let is_over = AtomicBool::new(false);
    let mut served = thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut served = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                served.push(honest.request());
            }
            served
        });
        let over = SetOnDrop(&is_over);
        let open: Vec<Hostile> = (0..connections)
            .filter_map(|number| attack.start(number % addresses, to, &tls))
            .collect();
        honest.request();
        drop(over);
        drop(open);
        served.join().unwrap()
    });
    let grown = peak_resident_bytes(pid) - before;
    served.sort_unstable();
    Outcome {
        grown,
        text: format!(
            "{attack:?}, {connections} connections from {addresses} addresses: {:.1} MB more; {} honest requests \
             served, median {:?}, slowest {:?}",
            grown as f64 / 1e6,
            served.len(),
            served[served.len() / 2],
            served[served.len() - 1],
        ),
    }
}

/// A node, or an operator, that is served beside the attack.
struct Honest {
    http: Http,
    node: Client,
    status_url: Option<String>,
}

impl Honest {
    fn new(airlock: &Airlock, ca: &Ca, attack: Attack) -> Self {
        // A new connection for each request.
        let builder = || trusting(ca).pool_max_idle_per_host(0).timeout(SERVED);
        let is_operator = matches!(attack, Attack::Documents);
        let https = |url: String| url.replace("http:", "https:");
        Honest {
            http: builder().build().unwrap(),
            node: Client::over(https(airlock.url()), builder()),
            status_url: is_operator.then(|| https(airlock.status_url())),
        }
    }

    /// Returns the time that a request takes. Panics unless it is answered within [`SERVED`].
    fn request(&self) -> Duration {
        let began = Instant::now();
        let status = match &self.status_url {
            Some(url) => self
                .http
                .get(format!("{url}/v1/status"))
                .send()
                .unwrap()
                .status(),
            None => {
                let answer = self.node.unlock("default", "honest");
                http::StatusCode::from_u16(answer.status).unwrap()
            }
        };
        // Without a password, it is refused.
        assert!(status == 200 || status == 401, "{status}");
        began.elapsed()
    }
}

fn trusting(ca: &Ca) -> reqwest::blocking::ClientBuilder {
    let ca = reqwest::Certificate::from_pem(&fs::read(ca.path()).unwrap()).unwrap();
    Http::builder().tls_certs_only([ca])
}

/// Returns the value of a metric, or 0.
fn metric(airlock: &Airlock, ca: &Ca, name: &str) -> f64 {
    let url = format!(
        "{}/metrics",
        airlock.status_url().replace("http:", "https:")
    );
    let text = trusting(ca)
        .build()
        .unwrap()
        .get(url)
        .send()
        .unwrap()
        .text()
        .unwrap();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values
        .next()
        .map_or(0.0, |value| value.trim().parse().unwrap())
}

/// Fills the documents of the status listener: 3,000 nodes hold the lock.
fn fill_documents(airlock: &Airlock, ca: &Ca) {
    let node = Client::over(airlock.url().replace("http:", "https:"), trusting(ca));
    for number in 0..3000 {
        assert!(node.lock("large", &format!("holder-{number}")).granted());
    }
}

#[test]
fn forty_hostile_connections_cost_less_than_30_mb() {
    for kind in [
        Attack::Echo,
        Attack::SlowBodies,
        Attack::EndlessHead,
        Attack::IndexedHead,
        Attack::PinnedBuffers(TABLE_ENTRIES),
        Attack::Handshake,
    ] {
        let (mut airlock, ca) = tls_server("", "");
        let Outcome { grown, text } = attack(&mut airlock, &ca, kind, 40, 1);
        println!("{text}");
        assert!(grown < 30 * MIB, "{kind:?}: {grown}");
    }
    let (mut airlock, ca) = tls_server("", "");
    fill_documents(&airlock, &ca);
    let Outcome { grown, text } = attack(&mut airlock, &ca, Attack::Documents, 40, 1);
    println!("{text}");
    assert!(grown < 30 * MIB, "documents: {grown}");
}

/// The budget is smaller than the default, so that fewer connections reach it. The tasks of a debug build are larger
/// than those that the server counts, and it takes longer to close connections.
#[test]
fn no_number_of_connections_exceeds_the_budget() {
    const BUDGET: u64 = 64 * MIB;
    raise_open_files(4000);
    let limits = format!("[limits]\nconnection_bytes = {BUDGET}\n");
    let users = tempfile::NamedTempFile::new().unwrap();
    let hash = bcrypt::hash("password", 4).unwrap();
    fs::write(users.path(), format!("node:{hash}\n")).unwrap();
    let passwords = format!("htpasswd_path = {:?}", users.path());
    for (kind, addresses, service) in [
        (Attack::SlowBodies, 1, ""),
        (Attack::EndlessHead, 64, &*passwords),
        (Attack::IndexedHead, 64, &*passwords),
        // As many heads as the server receives before it ends the connection.
        (Attack::PinnedBuffers(4), 64, ""),
        (Attack::Handshake, 64, ""),
        (Attack::Documents, 64, ""),
    ] {
        let (mut airlock, ca) = tls_server(service, &limits);
        if let Attack::Documents = kind {
            fill_documents(&airlock, &ca);
        }
        let Outcome { grown, text } = attack(&mut airlock, &ca, kind, 1500, addresses);
        println!("{text}");
        assert!(grown < BUDGET * 3 / 2, "{kind:?} from {addresses}: {grown}");
        let listener = match kind {
            Attack::Documents => "status",
            _ => "service",
        };
        let evicted =
            format!(r#"airlock_evicted_connections_total{{listener="{listener}",reason="bytes"}}"#);
        assert!(
            metric(&airlock, &ca, &evicted) > 0.0,
            "{kind:?}: below the budget"
        );
    }
}
