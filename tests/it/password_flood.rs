//! Floods of wrong passwords from many addresses: nodes are served next to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client::Client;
use airlock_test_support::eventually;
use airlock_test_support::pki::secret;

/// The cost that `htpasswd -B -C 10` uses.
const COST: u32 = 10;

/// The numbers of addresses from which passwords are guessed.
const FLOODS: [u8; 3] = [8, 32, 64];

/// The number of connections of a flood: twice the places in the queue.
const CONNECTIONS: usize = 128;

/// The time that a connection waits after it was refused without a check.
const PAUSE: Duration = Duration::from_millis(100);

/// The number of nodes that ask during a flood. Each has a user of its own, which has not been verified before.
const ATTEMPTS: usize = 10;

/// The time within which a node has to be answered.
const MAX_ANSWER: Duration = Duration::from_secs(10);

/// Clients that guess passwords until this is dropped.
struct Flood {
    _runtime: Runtime,
    /// The number of replies with each status.
    replies: Arc<Mutex<BTreeMap<u16, usize>>>,
}

// === impl Flood ===

impl Flood {
    fn from(addresses: u8, url: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let replies = Arc::new(Mutex::new(BTreeMap::new()));
        for address in 0..addresses {
            let from = IpAddr::from(Ipv4Addr::new(127, 0, 1, address));
            let http = reqwest::Client::builder().local_address(from);
            let http = http.build().unwrap();
            for connection in 0..CONNECTIONS / usize::from(addresses) {
                let (http, replies) = (http.clone(), Arc::clone(&replies));
                let url = format!("{url}/v1/pre-reboot");
                runtime.spawn(async move {
                    for number in 0_u64.. {
                        let password = format!("{addresses}-{address}-{connection}-{number}");
                        let request = http.post(&url).basic_auth("known", Some(password));
                        let status = request.send().await.unwrap().status();
                        *replies.lock().unwrap().entry(status.as_u16()).or_default() += 1;
                        if status != 401 {
                            // The load on the processors is not what is tested here.
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                });
            }
        }
        Flood {
            _runtime: runtime,
            replies,
        }
    }

    fn replies(&self) -> BTreeMap<u16, usize> {
        self.replies.lock().unwrap().clone()
    }
}

#[test]
fn nodes_are_served_next_to_floods_of_wrong_passwords_from_64_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    let hash = bcrypt::hash("right", COST).unwrap();
    let new = |addresses: u8, attempt: usize| format!("new-{addresses}-{attempt}");
    let names = FLOODS
        .into_iter()
        .flat_map(|addresses| (0..ATTEMPTS).map(move |attempt| new(addresses, attempt)));
    let lines: String = names
        .chain(["known".to_owned()])
        .map(|user| format!("{user}:{hash}\n"))
        .collect();
    secret(&path, &lines);
    let service = format!("[service]\nhtpasswd_path = {path:?}");
    let config = LISTEN.replace("[service]", &service);
    let airlock = Airlock::start_with(
        &format!("{config}[embedded]\npath = \"{{folder}}/airlock.db\"\n"),
        &["-v"],
    );
    let url = airlock.url();
    let node = |user: &str| {
        let url = url.replace("http://", &format!("http://{user}:right@"));
        Client::with_timeout(url, MAX_ANSWER)
    };
    let known = node("known");
    assert!(known.unlock("default", "known").granted());
    for addresses in FLOODS {
        let flood = Flood::from(addresses, &url);
        eventually("the flood to be rejected from every address", || {
            let rejected = flood.replies().get(&401).copied();
            (rejected? >= usize::from(addresses)).then_some(())
        });
        let (mut answers, mut verified) = (Vec::new(), Vec::new());
        for attempt in 0..ATTEMPTS {
            let client = node(&new(addresses, attempt));
            let began = Instant::now();
            let reply = client.try_post("v1/steady-state", "default", "new");
            let is_served = reply.is_ok_and(|reply| reply.granted());
            answers.push((is_served, began.elapsed()));
            for _ in 0..20 {
                let began = Instant::now();
                assert!(known.unlock("default", "known").granted());
                verified.push(began.elapsed());
            }
        }
        verified.sort_unstable();
        let (median, worst) = (verified[verified.len() / 2], verified[verified.len() - 1]);
        let replies = flood.replies();
        println!(
            "{addresses} addresses, {replies:?}: {answers:.1?}; verified: median {median:.1?}, worst {worst:.1?}"
        );
        let served = answers.iter().filter(|(is_served, _)| *is_served).count();
        assert!(
            served >= 9,
            "{served} of {ATTEMPTS} nodes were served: {answers:.1?}"
        );
        let mut times: Vec<_> = answers.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        let verified_first = times[times.len() / 2];
        assert!(
            median * 4 < verified_first,
            "a node that was verified before waits {median:.1?}, another one {verified_first:.1?}"
        );
        assert!(replies.into_keys().eq([401, 503]), "the queue is not full");
    }
    assert!(
        airlock
            .log()
            .contains("too many passwords wait to be verified")
    );
}
