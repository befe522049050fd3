use super::*;
use tokio::task::JoinHandle;

fn users(passwords: &[(&str, &str)]) -> Users {
    let lines = passwords.iter().map(|(user, password)| {
        let hash = bcrypt::hash(password, 4).unwrap();
        format!("{user}:{hash}\n")
    });
    users_in(&lines.collect::<String>())
}

/// Reads the text of an htpasswd file.
fn users_in(text: &str) -> Users {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, text).unwrap();
    Users::read(&path).unwrap()
}

fn peer(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

/// Keeps all checks waiting.
fn occupy(verifier: &Verifier) {
    verifier.state().running = verifier.max_running;
}

/// Lets the waiting checks run.
fn release(verifier: &Arc<Verifier>) {
    verifier.state().running = 1;
    tokio::spawn(Arc::clone(verifier).run());
}

/// Asks for user a.
fn request(
    verifier: &Arc<Verifier>,
    last: u8,
    password: &'static str,
) -> JoinHandle<Result<bool, QueueFull>> {
    let verifier = Arc::clone(verifier);
    tokio::spawn(async move { verifier.verify(peer(last), "a", password).await })
}

/// Waits until this number of checks waits.
async fn pending(verifier: &Verifier, count: usize) {
    while verifier.state().pending.len() != count {
        tokio::task::yield_now().await;
    }
}

/// Rejects other passwords.
fn reject(verifier: &Verifier, count: usize) {
    for number in 0..count {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let peer = peer(9);
        let check = Check {
            key,
            peer,
            user: None,
            password: String::new(),
            hash: "".into(),
        };
        let mut state = verifier.state();
        assert!(matches!(state.queue.push(check), Ok(None)));
        assert!(state.queue.next(|_| true).is_some());
        state.resolve(key, peer, None);
    }
}

#[tokio::test]
async fn only_the_password_of_the_user_is_accepted() {
    let verifier = Verifier::new(users(&[("a", "1"), ("b", "2")]), 64).unwrap();
    for (user, password, accepted) in [
        ("a", "1", true),
        ("b", "2", true),
        ("a", "2", false),
        ("b", "1", false),
        ("c", "1", false),
        ("", "", false),
        ("a", "1\0", false),
        ("a", "1\0a", false),
    ] {
        for what in ["new", "cached"] {
            let verified = verifier.verify(peer(1), user, password).await;
            assert_eq!(verified, Ok(accepted), "{user:?} {password:?} {what}");
        }
    }
}

#[tokio::test]
async fn a_cached_result_needs_neither_a_thread_nor_a_place_in_the_queue() {
    let verifier = Verifier::new(users(&[("a", "1")]), 1).unwrap();
    assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
    assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
    occupy(&verifier);
    let waiting = request(&verifier, 1, "y");
    pending(&verifier, 1).await;
    assert_eq!(verifier.verify(peer(1), "a", "z").await, Err(QueueFull));
    assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
    assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
    release(&verifier);
    assert_eq!(waiting.await.unwrap(), Ok(false));
    assert!(verifier.state().pending.is_empty());
}

#[tokio::test]
async fn a_node_with_the_right_password_comes_before_peers_that_guess() {
    let verifier = Verifier::new(users(&[("a", "1")]), 2).unwrap();
    assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
    occupy(&verifier);
    let first = request(&verifier, 1, "y");
    pending(&verifier, 1).await;
    let second = request(&verifier, 1, "z");
    pending(&verifier, 2).await;
    let node = request(&verifier, 2, "1");
    assert_eq!(second.await.unwrap(), Err(QueueFull), "evicted");
    assert_eq!(verifier.state().next().unwrap().peer, peer(2));
    release(&verifier);
    assert_eq!(first.await.unwrap(), Ok(false));
    drop(node);
}

#[tokio::test]
async fn a_node_does_not_wait_for_a_check_that_a_guessing_peer_has_queued() {
    let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
    assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
    occupy(&verifier);
    let first = request(&verifier, 1, "1");
    pending(&verifier, 1).await;
    let second = request(&verifier, 2, "1");
    while verifier.state().queue.charge(peer(2)) != 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(verifier.state().queue.charge(peer(1)), 1);
    release(&verifier);
    assert_eq!(first.await.unwrap(), Ok(true));
    assert_eq!(second.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn a_password_that_was_rejected_long_ago_is_no_longer_charged() {
    let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
    assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
    assert_eq!(verifier.verify(peer(2), "a", "1").await, Ok(true));
    let charge = |last| verifier.state().queue.charge(peer(last));
    assert_eq!((charge(1), charge(2)), (1, 0));
    reject(&verifier, MAX_REJECTED - 1);
    assert_eq!(charge(1), 1);
    reject(&verifier, 1);
    assert_eq!(charge(1), 0);
}

#[tokio::test]
async fn requests_with_one_password_share_a_check_and_an_abandoned_check_does_not_run() {
    let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
    occupy(&verifier);
    let many: Vec<_> = (0..100).map(|_| request(&verifier, 1, "1")).collect();
    let abandoned = request(&verifier, 2, "x");
    pending(&verifier, 2).await;
    abandoned.abort();
    assert!(abandoned.await.is_err());
    release(&verifier);
    for request in many {
        assert_eq!(request.await.unwrap(), Ok(true));
    }
    pending(&verifier, 0).await;
    assert!(
        verifier.state().rejected.is_empty(),
        "the abandoned check ran"
    );
}

#[tokio::test]
async fn a_changed_password_replaces_the_old_one_and_unchanged_ones_stay_cached() {
    let before = users(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let b = before.hash("b").0;
    let verifier = Verifier::new(before, 64).unwrap();
    for (user, password) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(verifier.verify(peer(1), user, password).await, Ok(true));
    }
    let a = bcrypt::hash("new", 4).unwrap();
    verifier.set_users(users_in(&format!("a:{a}\nb:{b}\n")));
    occupy(&verifier);
    assert_eq!(
        verifier.verify(peer(1), "b", "2").await,
        Ok(true),
        "cached, without a thread"
    );
    release(&verifier);
    assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(false));
    assert_eq!(verifier.verify(peer(1), "a", "new").await, Ok(true));
    assert_eq!(
        verifier.verify(peer(1), "c", "3").await,
        Ok(false),
        "removed"
    );
}

#[tokio::test]
async fn the_cache_of_rejected_passwords_is_bounded_and_evicts_no_verified_one() {
    let verifier = Verifier::new(users(&[("a", "1")]), 64).unwrap();
    assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
    reject(&verifier, MAX_REJECTED);
    assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
    let state = verifier.state();
    assert_eq!(state.rejected.len(), MAX_REJECTED);
    assert_eq!(state.rejected_set.len(), MAX_REJECTED);
    assert_eq!(state.verified.len(), 1);
}
