//! Verifies passwords, which is slow on purpose, without making the server slow.
//!
//! What was verified once is remembered by a keyed hash, never by the password: it is answered at once
//! and waits for nothing. What is new waits for one of a few threads, in a bounded queue in which no peer
//! has more than its share; the same question is asked only once, however many ask it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use aws_lc_rs::{error::Unspecified, hmac, rand};
use tokio::sync::{Semaphore, watch};

use super::htpasswd::Users;

/// How many wrong passwords are remembered: those of nodes that nobody has told of a new one.
const REMEMBERED_WRONG: usize = 1024;

/// Says whether a password is a user's.
pub struct Verifier {
    users: RwLock<Arc<Users>>,
    /// Random, of this process alone.
    key: hmac::Key,
    state: Mutex<State>,
    /// One permit for each verification that may run at once.
    running: Semaphore,
    waiting_max: usize,
    waiting_max_per_peer: usize,
}

/// More passwords wait than may.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// A user, the stored hash and the password, hashed under the key: a new hash in the file is a new question.
type Question = [u8; 32];

#[derive(Default)]
struct State {
    /// The last right question of each user.
    right: HashMap<String, Question>,
    /// The last wrong ones, oldest first; of users who exist and who do not alike.
    wrong: VecDeque<Question>,
    wrong_set: HashSet<Question>,
    /// What waits or runs. The answer goes to everybody who asks meanwhile.
    pending: HashMap<Question, Arc<watch::Sender<Option<bool>>>>,
    pending_by_peer: HashMap<IpAddr, usize>,
}

/// One question that nobody has answered yet.
struct Asked {
    question: Question,
    peer: IpAddr,
    user: String,
    password: String,
    hash: Arc<str>,
    exists: bool,
}

// === impl Verifier ===

impl Verifier {
    /// Keeps half of the processors for itself, one at least. `waiting_max` passwords may wait.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(users: Users, waiting_max: usize) -> Result<Arc<Self>, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Verifier {
            users: RwLock::new(Arc::new(users)),
            key,
            state: Mutex::default(),
            running: Semaphore::new((processors / 2).max(1)),
            waiting_max,
            waiting_max_per_peer: (waiting_max / 8).max(1),
        }))
    }

    /// Verifies against other users from now on. Those whose hash is the same stay verified.
    pub fn set_users(&self, users: Users) {
        self.state().right.retain(|user, _| users.contains(user));
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
    }

    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the password is the user's.
    pub async fn verify(
        self: &Arc<Self>,
        peer: IpAddr,
        user: &str,
        password: &str,
    ) -> Result<bool, Busy> {
        let (hash, exists) = self.users().hash(user);
        let question = self.question(user, &hash, password);
        let mut answer = {
            let mut state = self.state();
            if state.right.get(user) == Some(&question) {
                return Ok(true);
            }
            if state.wrong_set.contains(&question) {
                return Ok(false);
            }
            match state.pending.get(&question) {
                Some(pending) => pending.subscribe(),
                None => {
                    let peers = state.pending_by_peer.get(&peer).copied().unwrap_or(0);
                    if state.pending.len() >= self.waiting_max || peers >= self.waiting_max_per_peer
                    {
                        return Err(Busy);
                    }
                    let (pending, answer) = watch::channel(None);
                    state.pending.insert(question, Arc::new(pending));
                    state.pending_by_peer.insert(peer, peers + 1);
                    let asked = Asked {
                        question,
                        peer,
                        user: user.to_owned(),
                        password: password.to_owned(),
                        hash,
                        exists,
                    };
                    tokio::spawn(Arc::clone(self).settle(asked));
                    answer
                }
            }
        };
        let answer = answer.wait_for(Option::is_some).await;
        answer.ok().and_then(|answer| *answer).ok_or(Busy)
    }

    /// Answers a question when it is its turn, unless nobody waits for the answer any more.
    async fn settle(self: Arc<Self>, asked: Asked) {
        let Asked {
            question,
            peer,
            user,
            password,
            hash,
            exists,
        } = asked;
        let Ok(_permit) = self.running.acquire().await else {
            return;
        };
        if self.forget_abandoned(&question, peer) {
            return;
        }
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let right = exists && matches!(verified, Ok(Ok(true)));
        let mut state = self.state();
        if right {
            state.right.insert(user, question);
        } else {
            state.remember_wrong(question);
        }
        if let Some(pending) = state.remove(&question, peer) {
            pending.send_replace(Some(right));
        }
    }

    fn forget_abandoned(&self, question: &Question, peer: IpAddr) -> bool {
        let mut state = self.state();
        let pending = state.pending.get(question);
        let abandoned = pending.is_none_or(|pending| pending.is_closed());
        if abandoned {
            state.remove(question, peer);
        }
        abandoned
    }

    fn question(&self, user: &str, hash: &str, password: &str) -> Question {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, hash, password] {
            // With lengths, no two triples are one text.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut question = [0; 32];
        question.copy_from_slice(context.sign().as_ref());
        question
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn remember_wrong(&mut self, question: Question) {
        if !self.wrong_set.insert(question) {
            return;
        }
        self.wrong.push_back(question);
        if self.wrong.len() > REMEMBERED_WRONG
            && let Some(oldest) = self.wrong.pop_front()
        {
            self.wrong_set.remove(&oldest);
        }
    }

    fn remove(
        &mut self,
        question: &Question,
        peer: IpAddr,
    ) -> Option<Arc<watch::Sender<Option<bool>>>> {
        let pending = self.pending.remove(question)?;
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
    async fn only_the_users_own_password_is_right() {
        let verifier = Verifier::new(users(&[("a", "1"), ("b", "2")]), 64).unwrap();
        for (user, password, right) in [
            ("a", "1", true),
            ("b", "2", true),
            ("a", "2", false),
            ("b", "1", false),
            ("c", "1", false),
            ("", "", false),
            ("a", "1\0", false),
            ("a", "1\0a", false),
        ] {
            for what in ["new", "remembered"] {
                let verified = verifier.verify(peer(1), user, password).await;
                assert_eq!(verified, Ok(right), "{user:?} {password:?} {what}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_remembered_needs_no_thread_and_no_place() {
        let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
        assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
        assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
        let _all = verifier
            .running
            .acquire_many(verifier.running.available_permits() as u32);
        let _all = _all.await.unwrap();
        // The one place of this peer is taken by a question that waits.
        let waits = tokio::spawn({
            let verifier = Arc::clone(&verifier);
            async move { verifier.verify(peer(1), "a", "y").await }
        });
        while verifier.state().pending.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(verifier.verify(peer(1), "a", "z").await, Err(Busy));
        assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
        assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
        drop(_all);
        assert_eq!(waits.await.unwrap(), Ok(false));
        assert!(verifier.state().pending.is_empty());
        assert!(verifier.state().pending_by_peer.is_empty());
    }

    #[tokio::test]
    async fn many_who_ask_the_same_take_one_place_and_one_who_left_takes_no_time() {
        let verifier = Verifier::new(users(&[("a", "1")]), 8).unwrap();
        let permits = verifier.running.available_permits() as u32;
        let all = verifier.running.acquire_many(permits).await.unwrap();
        let ask = |last: u8, password: &'static str| {
            let verifier = Arc::clone(&verifier);
            tokio::spawn(async move { verifier.verify(peer(last), "a", password).await })
        };
        let many: Vec<_> = (0..100).map(|_| ask(1, "1")).collect();
        let left = ask(2, "x");
        while verifier.state().pending.len() < 2 {
            tokio::task::yield_now().await;
        }
        left.abort();
        assert!(left.await.is_err());
        drop(all);
        for asked in many {
            assert_eq!(asked.await.unwrap(), Ok(true));
        }
        while !verifier.state().pending.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(verifier.state().wrong.is_empty(), "nobody waited for it");
    }

    #[tokio::test]
    async fn a_new_password_ends_the_old_one_and_others_stay_verified() {
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
            "no thread needed"
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
    async fn wrong_passwords_are_forgotten_in_time_and_right_ones_are_not() {
        let verifier = Verifier::new(users(&[("a", "1")]), 64).unwrap();
        assert_eq!(verifier.verify(peer(1), "a", "1").await, Ok(true));
        for number in 0..REMEMBERED_WRONG as u32 {
            let mut question = [0; 32];
            question[..4].copy_from_slice(&number.to_be_bytes());
            verifier.state().remember_wrong(question);
        }
        assert_eq!(verifier.verify(peer(1), "a", "x").await, Ok(false));
        let state = verifier.state();
        assert_eq!(state.wrong.len(), REMEMBERED_WRONG);
        assert_eq!(state.wrong_set.len(), REMEMBERED_WRONG);
        assert_eq!(state.right.len(), 1);
    }
}
