use futures_util::FutureExt as _;
use prometheus::Registry;

use super::*;
use crate::http::ConnectionMetrics;

fn limits(text: &str) -> Limits {
    let text = format!("[service]\ntls = false\n[embedded]\npath = \"x\"\n[limits]\n{text}");
    let loaded = crate::config::parse("c.toml".as_ref(), &text).unwrap();
    loaded.settings.limits
}

fn connections() -> Arc<Connections> {
    let metrics = ConnectionMetrics::register(&Registry::new()).unwrap();
    Connections::new(metrics.of("service"))
}

/// Returns the only connection of a listener whose connections may hold 1 MiB.
pub(in crate::http) fn open_connection() -> Registration {
    let limits = limits("connection_bytes = 1048576");
    connections().register(None, false, limits).ok().unwrap()
}

/// The network with this number.
fn network(number: u8) -> ClientNetwork {
    ClientNetwork::of([192, 0, 2, number].into())
}

pub(in crate::http) fn is_evicted(registration: &Registration) -> bool {
    registration.0.evicted().now_or_never().is_some()
}

/// Registers connections of networks, from the oldest to the newest, all of which are accepted.
fn register<const N: usize>(
    connections: &Arc<Connections>,
    limits: &Limits,
    networks: [u8; N],
) -> [Registration; N] {
    networks.map(|number| {
        let registration = connections.register(Some(network(number)), false, limits.clone());
        registration.unwrap_or_else(|limit| panic!("network {number} was rejected: {limit}"))
    })
}

fn evicted<const N: usize>(registrations: &[Registration; N]) -> [bool; N] {
    registrations.each_ref().map(is_evicted)
}

/// Returns the number of connections and their bytes.
fn sums(connections: &Connections) -> (usize, usize) {
    connections.table.lock().sums()
}

#[test]
fn a_network_at_its_limit_loses_its_longest_idle_connection() {
    let limits = limits("max_connections_per_peer = 2");
    let connections = connections();
    let open = register(&connections, &limits, [1, 1, 2]);
    let _busy = open[0].0.request(0);
    let newer = register(&connections, &limits, [1]);
    assert_eq!(evicted(&open), [false, true, false]);
    let _busy = newer[0].0.request(0);
    let another = connections.register(Some(network(1)), false, limits.clone());
    assert_eq!(
        another.err(),
        Some("connections_per_peer"),
        "both connections answer requests"
    );
    assert_eq!(sums(&connections).0, 3);
}

#[test]
fn if_all_connections_are_open_the_network_with_the_most_loses_one() {
    let limits = limits("max_connections = 4\nmax_connections_per_peer = 4");
    let connections = connections();
    let open = register(&connections, &limits, [1, 2, 2, 2]);
    let _busy = open.each_ref().map(|open| open.0.request(0));
    let newer = register(&connections, &limits, [3]);
    assert_eq!(evicted(&open), [false, true, false, false]);
    let _busy_too = newer[0].0.request(0);
    // A network does not take a connection with a request from one that has only one more.
    let rejected = connections.register(Some(network(1)), false, limits.clone());
    assert_eq!(rejected.err(), Some("connections"));
    drop(_busy_too);
    drop(_busy);
    let _newest = register(&connections, &limits, [1]);
    assert_eq!(evicted(&open), [false, false, true, false], "an idle one");
}

#[test]
fn invariant_8_the_largest_connection_of_the_network_with_the_most_bytes_is_closed() {
    let limits = limits("connection_bytes = 1048576");
    let connections = connections();
    let open = register(&connections, &limits, [1, 2, 2]);
    let _large = open[0].0.response(300_000);
    let smaller = open[1].0.response(500_000);
    let _small = open[2].0.response(20_000);
    assert_eq!(evicted(&open), [false, false, false]);
    let _more = open[2].0.response(220_000);
    assert_eq!(evicted(&open), [false, true, false]);
    assert_eq!(sums(&connections).0, 2);
    // The bytes of a closed connection do not count any more, however it ends.
    drop(smaller);
    let [_, removed, rest] = open;
    drop((removed, _small, _more, rest));
    assert_eq!(sums(&connections), (1, CONNECTION_BYTES + 300_000));
}

#[test]
fn half_of_the_largest_size_counts_as_equally_large_and_the_longest_idle_connection_is_closed() {
    let limits = limits("connection_bytes = 1048576");
    let connections = connections();
    let open = register(&connections, &limits, [1, 2, 2, 3]);
    // An operator's network has the most bytes, and its connection with a request is the largest one.
    let _busy = open[2].0.request(40_000);
    let sizes = [310_000, 20_000, 310_000, 310_000];
    let responses = open.iter().zip(sizes);
    let _large: Vec<_> = responses
        .map(|(open, size)| open.0.response(size))
        .collect();
    assert_eq!(evicted(&open), [false; 4]);
    let _last = register(&connections, &limits, [4, 5, 6, 7, 8, 9]);
    assert_eq!(evicted(&open), [true, false, false, false]);
}

#[test]
fn at_a_limit_a_64th_of_it_is_made_available_at_once() {
    let limits = limits("max_connections = 128\nmax_connections_per_peer = 128");
    let connections = connections();
    let open = register(&connections, &limits, [1; 128]);
    let _busy = open[0].0.request(0);
    let _newest = register(&connections, &limits, [2]);
    let evicted: Vec<usize> = (0..128).filter(|index| is_evicted(&open[*index])).collect();
    assert_eq!(evicted, [1, 2], "the longest idle ones");
}

#[test]
fn an_old_connection_does_not_enforce_the_limit_of_bytes_before_a_reload() {
    let connections = connections();
    let old = register(&connections, &limits("connection_bytes = 1048576"), [1]);
    let new = register(&connections, &limits("connection_bytes = 4194304"), [2]);
    let _large = new[0].0.response(2_000_000);
    let _small = old[0].0.response(20_000);
    assert!(!is_evicted(&new[0]) && !is_evicted(&old[0]));
    let _lowered = register(&connections, &limits("connection_bytes = 1048576"), [3]);
    assert!(is_evicted(&new[0]) && !is_evicted(&old[0]));
}

#[test]
fn the_connections_of_a_trusted_proxy_are_those_of_many_clients() {
    let limits = limits("max_connections = 4\nmax_connections_per_peer = 1");
    let connections = connections();
    let proxied = || connections.register(None, false, limits.clone()).unwrap();
    let proxy = [proxied(), proxied(), proxied()];
    let _busy = proxy.each_ref().map(|open| open.0.request(0));
    let node = register(&connections, &limits, [1]);
    let _another = register(&connections, &limits, [2]);
    assert_eq!(evicted(&proxy), [false, false, false]);
    assert_eq!(evicted(&node), [true], "the only idle one");
}

#[test]
fn a_usual_request_does_not_touch_the_table_and_all_bytes_are_returned() {
    let limits = limits("");
    let connections = connections();
    let [open] = register(&connections, &limits, [1]);
    let bytes = || sums(&connections).1;
    open.0.received(500);
    let request = open.0.request(2 << 10);
    let body = open.0.body();
    assert_eq!(bytes(), CONNECTION_BYTES);
    open.0.received(STEP);
    assert_eq!(bytes(), CONNECTION_BYTES + (2 << 10) + 2 * (500 + STEP));
    drop(body);
    drop(request);
    let _next = open.0.request(0);
    drop(_next);
    assert_eq!(bytes(), CONNECTION_BYTES);
    drop(open);
    assert_eq!(sums(&connections), (0, 0));
}

#[test]
fn a_part_of_a_head_of_http_2_counts_as_the_fields_that_it_may_stand_for() {
    let limits = limits("");
    let connections = connections();
    let [open] = register(&connections, &limits, [1]);
    open.0.speaks_http2();
    open.0.received(4000);
    let fields = head::max_bytes(&limits) / 2 * 9;
    assert_eq!(sums(&connections).1, CONNECTION_BYTES + 8000 + fields);
}

#[test]
fn by_default_a_network_has_a_sixteenth_of_all_connections() {
    assert_eq!(limits("").connections_per_peer(), 1024);
    assert_eq!(limits("max_connections = 320").connections_per_peer(), 20);
    assert_eq!(limits("max_connections = 20").connections_per_peer(), 16);
    let configured = limits("max_connections_per_peer = 160");
    assert_eq!(configured.connections_per_peer(), 160);
    assert_eq!(configured.for_operators().connections_per_peer(), 20);
}
