//! The process's connections to the server, over all workers: how many there may be, and whose they are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What all workers have open. Cold: a connection that is opened or ends comes by here, no command does.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    open: AtomicUsize,
    /// Of one server of several: those of the whole process, among which they count.
    all: Option<Arc<Connections>>,
    /// Who waits for one of them to end.
    waiting: AtomicUsize,
    /// By their user: since when each can be used.
    users: Mutex<BTreeMap<Box<[u8]>, Vec<Instant>>>,
}

/// There are as many connections as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {0} connections to the server that there may be are in use")]
pub struct Full(pub usize);

impl Connections {
    /// None yet, and at most `max`.
    pub fn new(max: usize) -> Arc<Connections> {
        Arc::new(Connections { max, open: AtomicUsize::new(0), all: None, waiting: AtomicUsize::new(0), users: Mutex::default() })
    }

    /// Those to one server of several: counted apart, and bounded with all others.
    pub fn among(all: &Arc<Connections>) -> Arc<Connections> {
        let (open, waiting, users) = Default::default();
        Arc::new(Connections { max: all.max, open, all: Some(Arc::clone(all)), waiting, users })
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn all(self: &Arc<Self>) -> &Arc<Connections> {
        self.all.as_ref().unwrap_or(self)
    }

    /// Room for one more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn take(self: &Arc<Self>) -> Result<Permit, Full> {
        let free = |open| (open < self.max).then_some(open + 1);
        match self.all().open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free) {
            Ok(_) => Ok(self.permit()),
            Err(_) => Err(Full(self.max)),
        }
    }

    fn permit(self: &Arc<Self>) -> Permit {
        if self.all.is_some() {
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        Permit(Arc::clone(self))
    }

    /// A permit for a connection that must exist: that of clients without a login, and the spare one.
    pub fn insist(self: &Arc<Self>) -> Permit {
        self.all().open.fetch_add(1, Ordering::Relaxed);
        self.permit()
    }

    /// True when there is room for one more.
    #[cfg(test)]
    fn has_room(self: &Arc<Self>) -> bool {
        self.all().open.load(Ordering::Relaxed) < self.max
    }

    /// True while somebody waits for a connection that nobody needs to end.
    pub fn is_waited_for(self: &Arc<Self>) -> bool {
        self.all().waiting.load(Ordering::Relaxed) > 0
    }

    /// Somebody waits, until what is returned is dropped.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        let all = self.all();
        all.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(all))
    }

    /// A connection of this user's can be used from `since` on, until what is returned is dropped.
    pub fn enter(self: &Arc<Self>, user: &[u8], since: Instant) -> UserConnection {
        let all = self.all();
        all.change(|users| users.entry(user.into()).or_default().push(since));
        UserConnection { connections: Arc::clone(all), user: user.into(), since }
    }

    /// True when the user has a connection that is older than `then`.
    pub fn has_older(self: &Arc<Self>, user: &[u8], then: Instant) -> bool {
        self.all().change(|users| users.get(user).is_some_and(|since| since.iter().any(|since| *since < then)))
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<Box<[u8]>, Vec<Instant>>) -> T) -> T {
        change(&mut self.users.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The room that one connection takes.
#[derive(Debug)]
pub struct Permit(Arc<Connections>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(all) = &self.0.all {
            all.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Somebody waits for room.
#[derive(Debug)]
pub struct Waiting(Arc<Connections>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that can be used.
#[derive(Debug)]
pub struct UserConnection {
    connections: Arc<Connections>,
    user: Box<[u8]>,
    since: Instant,
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        self.connections.change(|users| {
            let Some(since) = users.get_mut(&self.user) else { return };
            if let Some(at) = since.iter().position(|since| *since == self.since) {
                since.swap_remove(at);
            }
            if since.is_empty() {
                users.remove(&self.user);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_one_fits_and_the_next_one_does_not() {
        let connections = Connections::new(2);
        let first = connections.take().expect("room");
        let _second = connections.insist();
        assert!(!connections.has_room());
        assert_eq!(connections.take().map(|_| ()), Err(Full(2)));
        drop(first);
        assert!(connections.take().is_ok());
    }

    #[test]
    fn those_to_one_server_of_several_count_among_all() {
        let all = Connections::new(2);
        let (one, other) = (Connections::among(&all), Connections::among(&all));
        let first = one.take().expect("room");
        let _second = other.take().expect("room");
        assert_eq!([one.open(), other.open(), all.open()], [1, 1, 2]);
        assert!(one.take().is_err() && !other.has_room());
        drop(first);
        assert_eq!([one.open(), other.open(), all.open()], [0, 1, 1]);
        let _presence = one.enter(b"bob", Instant::now());
        assert!(other.has_older(b"bob", Instant::now() + Duration::from_secs(1)));
    }

    #[test]
    fn one_that_must_be_is_beyond_the_bound() {
        let connections = Connections::new(1);
        let _two = (connections.insist(), connections.insist());
        assert!(!connections.has_room() && connections.take().is_err());
    }

    #[test]
    fn who_waits_is_known_until_he_gives_up() {
        let connections = Connections::new(1);
        let waiting = connections.wait();
        assert!(connections.is_waited_for());
        drop(waiting);
        assert!(!connections.is_waited_for());
    }

    #[test]
    fn a_user_has_older_connections_until_the_last_of_them_ends() {
        let (connections, start) = (Connections::new(9), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let old = connections.enter(b"bob", at(1));
        let new = connections.enter(b"bob", at(7));
        assert!(connections.has_older(b"bob", at(5)) && !connections.has_older(b"ann", at(5)));
        drop(old);
        assert!(!connections.has_older(b"bob", at(5)) && connections.has_older(b"bob", at(8)));
        drop(new);
        assert!(connections.change(|users| users.is_empty()), "nothing is kept of who has left");
    }
}
