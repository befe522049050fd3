//! Verifies passwords. bcrypt is slow by design; the verifier keeps that cost away from other requests.
//!
//! A verified password is cached as a keyed hash, never as the password itself, and needs no further verification.
//! A new one waits in a bounded queue, in which no peer has more than its share, for one of a few threads. Requests
//! with the same password share one check.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::{error::Unspecified, hmac, rand};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{Semaphore, watch};

use super::htpasswd::Users;

/// The maximum number of rejected passwords in the cache. They come from nodes with an outdated configuration.
const MAX_REJECTED: usize = 1024;

/// Verifies passwords of users.
pub(super) struct Verifier {
    users: RwLock<Arc<Users>>,
    /// This key is random and never stored.
    key: hmac::Key,
    state: Mutex<VerifierState>,
    /// One permit for each check that may run at the same time.
    running: Semaphore,
    max_pending: usize,
    max_pending_per_peer: usize,
}

/// The queue of passwords to verify is full, or the share of the peer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// The keyed hash of a user, the hash in the file, and a password. A new hash in the file leads to a new key.
type CacheKey = [u8; 32];

/// Sends the result of a check to every request that waits for it.
type ResultSender = watch::Sender<Option<bool>>;

/// Receives the result of a check.
type ResultReceiver = watch::Receiver<Option<bool>>;

#[derive(Default)]
struct VerifierState {
    /// The latest verified password of each user.
    verified: HashMap<String, CacheKey>,
    /// The latest rejected passwords, oldest first, of existing and unknown users alike.
    rejected: VecDeque<CacheKey>,
    /// The same as `rejected`.
    rejected_set: HashSet<CacheKey>,
    /// The checks that wait or run.
    pending: HashMap<CacheKey, ResultSender>,
    pending_by_peer: HashMap<IpAddr, usize>,
}

/// A check that waits or runs.
struct PendingCheck {
    key: CacheKey,
    /// The peer with the share of the queue that it counts against.
    peer: IpAddr,
    user: String,
    password: String,
    hash: Arc<str>,
    user_exists: bool,
}

// === impl Verifier ===

impl Verifier {
    /// Creates a verifier that uses half of the processors, at least one. At most `max_pending` passwords wait.
    ///
    /// # Errors
    /// If the system returns no random numbers.
    pub(super) fn new(users: Users, max_pending: usize) -> Result<Arc<Self>, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Verifier {
            users: RwLock::new(Arc::new(users)),
            key,
            state: Mutex::default(),
            running: Semaphore::new((processors / 2).max(1)),
            max_pending,
            max_pending_per_peer: (max_pending / 8).max(1),
        }))
    }

    /// Replaces the users. A cached password stays valid while the hash of its user is unchanged.
    pub(super) fn set_users(&self, users: Users) {
        self.state().verified.retain(|user, _| users.contains(user));
        *self.users.write() = Arc::new(users);
    }

    /// Returns the current users.
    pub(super) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read())
    }

    /// Reports whether the password is that of the user.
    ///
    /// # Errors
    /// If too many passwords wait already, of all peers or of this one.
    pub(super) async fn verify(
        self: &Arc<Self>,
        peer: IpAddr,
        user: &str,
        password: &str,
    ) -> Result<bool, QueueFull> {
        let (hash, user_exists) = self.users().hash(user);
        let key = self.cache_key(user, &hash, password);
        let mut result = {
            let mut state = self.state();
            if let Some(result) = state.cached(user, &key) {
                return Ok(result);
            }
            match state.pending.get(&key) {
                Some(pending) => pending.subscribe(),
                None => {
                    let result = self.enqueue(&mut state, key, peer)?;
                    let check = PendingCheck {
                        key,
                        peer,
                        user: user.to_owned(),
                        password: password.to_owned(),
                        hash,
                        user_exists,
                    };
                    tokio::spawn(Arc::clone(self).resolve(check));
                    result
                }
            }
        };
        let result = result.wait_for(Option::is_some).await;
        result.ok().and_then(|result| *result).ok_or(QueueFull)
    }

    fn enqueue(
        &self,
        state: &mut VerifierState,
        key: CacheKey,
        peer: IpAddr,
    ) -> Result<ResultReceiver, QueueFull> {
        let of_peer = state.pending_by_peer.get(&peer).copied().unwrap_or(0);
        if state.pending.len() >= self.max_pending || of_peer >= self.max_pending_per_peer {
            return Err(QueueFull);
        }
        let (sender, receiver) = watch::channel(None);
        state.pending.insert(key, sender);
        state.pending_by_peer.insert(peer, of_peer + 1);
        Ok(receiver)
    }

    /// Runs a check when a thread is free, unless no request waits for its result any more.
    async fn resolve(self: Arc<Self>, check: PendingCheck) {
        let PendingCheck {
            key,
            peer,
            user,
            password,
            hash,
            user_exists,
        } = check;
        let Ok(_permit) = self.running.acquire().await else {
            return;
        };
        if self.remove_abandoned(&key, peer) {
            return;
        }
        let matches = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let verified = user_exists && matches!(matches, Ok(Ok(true)));
        let mut state = self.state();
        if verified {
            state.verified.insert(user, key);
        } else {
            state.cache_rejected(key);
        }
        if let Some(pending) = state.remove(&key, peer) {
            pending.send_replace(Some(verified));
        }
    }

    /// Removes a check if no request waits for its result any more, and reports whether it did.
    fn remove_abandoned(&self, key: &CacheKey, peer: IpAddr) -> bool {
        let mut state = self.state();
        let pending = state.pending.get(key);
        let abandoned = pending.is_none_or(watch::Sender::is_closed);
        if abandoned {
            state.remove(key, peer);
        }
        abandoned
    }

    fn cache_key(&self, user: &str, hash: &str, password: &str) -> CacheKey {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, hash, password] {
            // The lengths keep different triples from being hashed as the same text.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    fn state(&self) -> MutexGuard<'_, VerifierState> {
        self.state.lock()
    }
}

// === impl VerifierState ===

impl VerifierState {
    /// Returns the result of an earlier check.
    fn cached(&self, user: &str, key: &CacheKey) -> Option<bool> {
        if self.verified.get(user) == Some(key) {
            Some(true)
        } else if self.rejected_set.contains(key) {
            Some(false)
        } else {
            None
        }
    }

    fn cache_rejected(&mut self, key: CacheKey) {
        if !self.rejected_set.insert(key) {
            return;
        }
        self.rejected.push_back(key);
        if self.rejected.len() > MAX_REJECTED
            && let Some(oldest) = self.rejected.pop_front()
        {
            self.rejected_set.remove(&oldest);
        }
    }

    /// Removes a pending check from the queue.
    fn remove(&mut self, key: &CacheKey, peer: IpAddr) -> Option<ResultSender> {
        let pending = self.pending.remove(key)?;
        if let Some(count) = self.pending_by_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.pending_by_peer.remove(&peer);
            }
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn users(passwords: &[(&str, &str)]) -> Users {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        let lines: Vec<String> = passwords
            .iter()
            .map(|(user, password)| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap()))
            .collect();
        std::fs::write(&path, lines.concat()).unwrap();
        Users::read(Path::new(&path)).unwrap()
    }

    fn peer(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
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
        let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
        assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
        assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
        let _all = verifier
            .running
            .acquire_many(verifier.running.available_permits() as u32);
        let _all = _all.await.unwrap();
        // A waiting check takes the only place of this peer.
        let waiting = tokio::spawn({
            let verifier = Arc::clone(&verifier);
            async move { verifier.verify(peer(1), "a", "y").await }
        });
        while verifier.state().pending.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(verifier.verify(peer(1), "a", "z").await, Err(QueueFull));
        assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
        assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
        drop(_all);
        assert_eq!(waiting.await.unwrap(), Ok(false));
        assert!(verifier.state().pending.is_empty());
        assert!(verifier.state().pending_by_peer.is_empty());
    }

    #[tokio::test]
    async fn requests_with_one_password_share_a_check_and_an_abandoned_check_does_not_run() {
        let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
        let permits = verifier.running.available_permits() as u32;
        let all = verifier.running.acquire_many(permits).await.unwrap();
        let request = |last: u8, password: &'static str| {
            let verifier = Arc::clone(&verifier);
            tokio::spawn(async move { verifier.verify(peer(last), "a", password).await })
        };
        let many: Vec<_> = (0..100).map(|_| request(1, "1")).collect();
        let abandoned = request(2, "x");
        while verifier.state().pending.len() < 2 {
            tokio::task::yield_now().await;
        }
        abandoned.abort();
        assert!(abandoned.await.is_err());
        drop(all);
        for request in many {
            assert_eq!(request.await.unwrap(), Ok(true));
        }
        while !verifier.state().pending.is_empty() {
            tokio::task::yield_now().await;
        }
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        let a = bcrypt::hash("new", 4).unwrap();
        std::fs::write(&path, format!("a:{a}\nb:{b}\n")).unwrap();
        verifier.set_users(Users::read(&path).unwrap());
        let _all = verifier
            .running
            .acquire_many(verifier.running.available_permits() as u32);
        let all = _all.await.unwrap();
        assert_eq!(
            verifier.verify(peer(1), "b", "2").await,
            Ok(true),
            "cached, without a thread"
        );
        drop(all);
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
        for number in 0..MAX_REJECTED as u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            verifier.state().cache_rejected(key);
        }
        assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
        let state = verifier.state();
        assert_eq!(state.rejected.len(), MAX_REJECTED);
        assert_eq!(state.rejected_set.len(), MAX_REJECTED);
        assert_eq!(state.verified.len(), 1);
    }
}
