//! Which server is the primary, for the whole process: the one that the configuration names, or the one that sentinels name now.
//!
//! Each time it changes a new term begins. A connection knows the term that it was opened in, and looks before it writes
//! whether that is still the present one: nothing is sent to a server that has ceased to be the primary.

pub mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::address::Address;
use super::change_notifier::{ChangeNotifier, Subscription};

/// A server, since when it is the primary, and by whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub address: Address,
    pub since: Instant,
    /// `None` for the one that the configuration names.
    pub named_by: Option<Address>,
}

/// What is known of the primary.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// `None` while nobody knows which server is the primary.
    pub node: Option<Arc<Node>>,
    pub term: u64,
    /// Doubts up to this number have been looked into.
    settled: u64,
}

impl View {
    /// As if this server were the primary.
    pub fn of(address: Address) -> View {
        let node = Node { address, since: Instant::now(), named_by: None };
        View { node: Some(Arc::new(node)), ..View::default() }
    }
}

/// The current primary. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Primary {
    view: watch::Receiver<View>,
    changes: Subscription,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The present term: what is asked before each write is one load.
    term: AtomicU64,
    /// How often somebody has doubted that it is the primary.
    doubts: AtomicU64,
    doubted: Notify,
    changes: ChangeNotifier,
    is_watched: bool,
}

impl Primary {
    /// The one server that the configuration names.
    pub fn fixed(address: Address) -> Primary {
        let (_, view) = watch::channel(View::of(address));
        Primary::of(view, Arc::default())
    }

    /// One that is not known yet, and whoever will say which it is.
    pub fn unknown() -> (PrimaryPublisher, Primary) {
        let (sender, view) = watch::channel(View::default());
        let shared = Arc::new(Shared { is_watched: true, ..Shared::default() });
        (PrimaryPublisher { view: sender, shared: Arc::clone(&shared) }, Primary::of(view, shared))
    }

    fn of(view: watch::Receiver<View>, shared: Arc<Shared>) -> Primary {
        Primary { view, changes: shared.changes.subscribe(), shared }
    }

    /// True when it may become another one while the process runs.
    pub fn is_watched(&self) -> bool {
        self.shared.is_watched
    }

    /// What is known of it now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What is known of it now; `changed` returns when that is no longer so.
    pub fn observe(&mut self) -> View {
        self.changes.mark_unchanged();
        self.view()
    }

    /// True while the term is the present one.
    pub fn is_in_term(&self, term: u64) -> bool {
        self.shared.term.load(Ordering::Acquire) == term
    }

    /// Somebody has seen what only a server says that is no primary; the number of the doubt.
    pub fn doubt(&self) -> u64 {
        let doubt = self.shared.doubts.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.doubted.notify_one();
        doubt
    }

    /// True once the server has been asked since then, and is still the primary or no longer in its term.
    pub fn is_settled(&self, doubt: u64) -> bool {
        self.view.borrow().settled >= doubt
    }

    /// Returns when something has changed since the last time; never for one that is fixed.
    pub async fn changed(&mut self) {
        self.changes.changed().await;
    }
}

/// Says which server is the primary.
#[derive(Debug)]
pub struct PrimaryPublisher {
    view: watch::Sender<View>,
    shared: Arc<Shared>,
}

impl PrimaryPublisher {
    /// Another server, or none, is the primary from now on.
    pub fn decide(&self, node: Option<Node>) {
        // The term ends before anybody learns of the next one.
        let term = self.shared.term.fetch_add(1, Ordering::AcqRel) + 1;
        let settled = self.shared.doubts.load(Ordering::Acquire);
        self.view.send_replace(View { node: node.map(Arc::new), term, settled });
        self.shared.changes.notify();
    }

    /// The server was asked, and is the primary, whatever was seen before the doubt with this number.
    pub fn confirm(&self, doubt: u64) {
        self.view.send_modify(|view| view.settled = doubt);
        self.shared.changes.notify();
    }

    /// The number of the last doubt, where it is not settled.
    pub fn open_doubt(&self) -> Option<u64> {
        let doubts = self.shared.doubts.load(Ordering::Acquire);
        (doubts > self.view.borrow().settled).then_some(doubts)
    }

    /// Returns when somebody doubts.
    pub async fn doubted(&self) {
        self.shared.doubted.notified().await;
    }

    /// Who is the primary now.
    pub fn current(&self) -> Option<Arc<Node>> {
        self.view.borrow().node.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> Node {
        let address = |port| Address::Tcp { host: "127.0.0.1".to_owned(), port };
        Node { address: address(port), since: Instant::now(), named_by: Some(address(1)) }
    }

    #[test]
    fn one_server_is_the_primary_in_one_term_for_ever() {
        let primary = Primary::fixed(node(1).address);
        let View { node: named, term, .. } = primary.view();
        assert_eq!(named.map(|named| named.address.clone()), Some(node(1).address));
        assert!(primary.is_in_term(term) && !primary.is_watched());
    }

    #[test]
    fn a_term_ends_with_each_decision() {
        let (primary_publisher, primary) = Primary::unknown();
        assert!(primary.view().node.is_none() && primary.is_watched());
        primary_publisher.decide(Some(node(1)));
        let first = primary.view();
        assert!(primary.is_in_term(first.term));
        primary_publisher.decide(None);
        assert!(!primary.is_in_term(first.term) && primary.view().node.is_none());
    }

    #[test]
    fn a_doubt_is_open_until_it_is_settled_or_the_term_ends() {
        let (primary_publisher, primary) = Primary::unknown();
        primary_publisher.decide(Some(node(1)));
        assert_eq!(primary_publisher.open_doubt(), None);
        let doubt = primary.doubt();
        assert_eq!((primary_publisher.open_doubt(), primary.is_settled(doubt)), (Some(doubt), false));
        primary_publisher.confirm(doubt);
        assert_eq!((primary_publisher.open_doubt(), primary.is_settled(doubt)), (None, true));
        let doubt = primary.doubt();
        primary_publisher.decide(Some(node(2)));
        assert!(primary.is_settled(doubt));
    }
}
