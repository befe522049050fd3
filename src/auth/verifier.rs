//! Verifies passwords. bcrypt is slow by design; the verifier keeps that cost away from other requests.
//!
//! A verified password is cached as a keyed hash, never as the password itself, and needs no further verification.
//! A new one waits in a bounded queue, in which peers that guess come last, for one of a few threads. Requests with the
//! same password share one check.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::{error::Unspecified, hmac, rand};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

use super::htpasswd::Users;
use super::queue::{CacheKey, Check, Queue, QueueFull};

/// The maximum number of rejected passwords in the cache. They come from nodes with an outdated configuration, and from
/// peers that guess.
const MAX_REJECTED: usize = 1024;

/// Verifies passwords of users.
pub(super) struct Verifier {
    users: RwLock<Arc<Users>>,
    /// This key is random and never stored.
    key: hmac::Key,
    state: Mutex<VerifierState>,
    /// The maximum number of checks that run at the same time.
    max_running: usize,
}

/// Sends the result of a check to every request that waits for it.
type ResultSender = watch::Sender<Option<bool>>;

/// Receives the result of a check.
type ResultReceiver = watch::Receiver<Option<bool>>;

struct VerifierState {
    /// The latest verified password of each user.
    verified: HashMap<String, CacheKey>,
    /// The latest rejected passwords, oldest first, of existing and unknown users alike, with the peers that they are
    /// charged to.
    rejected: VecDeque<(CacheKey, IpAddr)>,
    /// The keys in `rejected`.
    rejected_set: HashSet<CacheKey>,
    /// The checks that wait or run.
    pending: HashMap<CacheKey, ResultSender>,
    queue: Queue,
    /// The number of tasks that run checks.
    running: usize,
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
            state: Mutex::new(VerifierState::new(max_pending)),
            max_running: (processors / 2).max(1),
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
    /// If too many passwords wait already.
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
            if let Some(result) = state.join(&key, peer) {
                result
            } else {
                let result = state.enqueue(Check {
                    key,
                    peer,
                    user: user_exists.then(|| user.to_owned()),
                    password: password.to_owned(),
                    hash,
                })?;
                if state.running < self.max_running {
                    state.running += 1;
                    tokio::spawn(Arc::clone(self).run());
                }
                result
            }
        };
        let result = result.wait_for(Option::is_some).await;
        // The sender is gone if the check was evicted.
        result.ok().and_then(|result| *result).ok_or(QueueFull)
    }

    /// Runs checks, one after the other, until none waits.
    async fn run(self: Arc<Self>) {
        while let Some(check) = self.next() {
            let Check {
                key,
                peer,
                user,
                password,
                hash,
            } = check;
            let matches = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash));
            let matches = matches!(matches.await, Ok(Ok(true)));
            self.state().resolve(key, peer, user.filter(|_| matches));
        }
    }

    /// Returns the next check to run; `None` ends the task.
    fn next(&self) -> Option<Check> {
        let mut state = self.state();
        let next = state.next();
        if next.is_none() {
            state.running -= 1;
        }
        next
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
    fn new(max_pending: usize) -> Self {
        VerifierState {
            verified: HashMap::new(),
            rejected: VecDeque::new(),
            rejected_set: HashSet::new(),
            pending: HashMap::new(),
            queue: Queue::new(max_pending),
            running: 0,
        }
    }

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

    /// Waits for the result of a check that another request has queued, if there is one.
    fn join(&mut self, key: &CacheKey, peer: IpAddr) -> Option<ResultReceiver> {
        let result = self.pending.get(key)?.subscribe();
        self.queue.join(key, peer);
        Some(result)
    }

    fn enqueue(&mut self, check: Check) -> Result<ResultReceiver, QueueFull> {
        let key = check.key;
        if let Some(evicted) = self.queue.push(check)? {
            self.pending.remove(&evicted.key);
        }
        let (sender, receiver) = watch::channel(None);
        self.pending.insert(key, sender);
        Ok(receiver)
    }

    /// Returns the next check with a request that still waits for its result.
    fn next(&mut self) -> Option<Check> {
        let pending = &mut self.pending;
        self.queue.next(|key| {
            let is_wanted = pending.get(key).is_some_and(|result| !result.is_closed());
            if !is_wanted {
                pending.remove(key);
            }
            is_wanted
        })
    }

    /// Stores the result of a check and sends it to all requests that wait for it. `verified` is the user if the
    /// password is right.
    fn resolve(&mut self, key: CacheKey, peer: IpAddr, verified: Option<String>) {
        if let Some(pending) = self.pending.remove(&key) {
            pending.send_replace(Some(verified.is_some()));
        }
        match verified {
            Some(user) => {
                self.verified.insert(user, key);
                self.queue.discharge(peer);
            }
            None => self.cache_rejected(key, peer),
        }
    }

    fn cache_rejected(&mut self, key: CacheKey, peer: IpAddr) {
        self.rejected.push_back((key, peer));
        self.rejected_set.insert(key);
        if self.rejected.len() > MAX_REJECTED
            && let Some((oldest, peer)) = self.rejected.pop_front()
        {
            self.rejected_set.remove(&oldest);
            self.queue.discharge(peer);
        }
    }
}

#[cfg(test)]
mod tests;
