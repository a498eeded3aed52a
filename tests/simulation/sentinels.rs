//! Sentinels that name one of two servers as the primary. Only that one may be reached by the proxy.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use respguard::net::address::Address;
use respguard::net::topology::{Node, Primary, PrimaryPublisher};
use tokio::time::Instant;

use crate::nodes;

/// Who connects so soon after another server was named may have begun before.
const GRACE: Duration = Duration::from_millis(2);

pub struct Sentinels {
    folder: PathBuf,
    primary_publisher: PrimaryPublisher,
    pub primary: Primary,
    /// The server that is named, and since when.
    named: Cell<(usize, Instant)>,
    /// What no proxy may do.
    pub breaches: RefCell<Vec<String>>,
}

impl Sentinels {
    /// They name the first server.
    pub fn new(folder: &Path) -> Sentinels {
        let (primary_publisher, primary) = Primary::unknown();
        let named = Cell::new((0, Instant::now()));
        let sentinels = Sentinels { folder: folder.to_owned(), primary_publisher, primary, named, breaches: RefCell::default() };
        sentinels.name(0);
        sentinels
    }

    pub fn named(&self) -> usize {
        self.named.get().0
    }

    /// This server is the primary from now on.
    pub fn name(&self, node: usize) {
        self.named.set((node, Instant::now()));
        let address = Address::Unix(self.folder.join(nodes::name(node)));
        self.primary_publisher.decide(Some(Node { address, since: std::time::Instant::now(), named_by: None }));
    }

    /// The proxy has connected to this server.
    pub fn note_reached(&self, node: usize) {
        let (named, since) = self.named.get();
        if node != named && since.elapsed() > GRACE {
            self.breaches.borrow_mut().push(format!("server {node} was reached, although {named} had been named"));
        }
    }
}
