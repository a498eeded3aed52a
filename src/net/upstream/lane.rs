//! All connections of one user, db and protocol version: the shared one and the leases.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::call::Answer;
use super::connection::{Link, Phase};
use super::connections::Full;
use super::shared_connection::SharedConnection;
use super::{Recipient, Settings, WorkerSettings, call};
use crate::net::address::Address;
use crate::net::clock;
use crate::net::context::Context;
use respguard_engine::command::{DEFAULT_USER, Login};
use respguard_engine::link::handshake::{ConnectParams, OrphanedConnection, Selects};
use respguard_engine::pipeline::permission::Permission;
use respguard_resp::Protocol;

/// A lease that nobody took for so long is closed, well before servers close idle connections.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// A lane without clients is closed after so long.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// Idle leases that a lane keeps.
const IDLE_LEASES_MAX: usize = 16;

/// What tells one lane from another: replies can be forwarded unparsed only within one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// What the server accepted; `None` before any AUTH.
    pub login: Option<Login>,
    /// As whom its connections enter the db.
    pub selects: Selects,
    pub db: u32,
    pub protocol: Protocol,
}

impl LaneKey {
    /// The user's name, `default` when none was given.
    pub fn user(&self) -> &[u8] {
        self.login.as_ref().map_or(DEFAULT_USER, Login::user)
    }

    pub(super) fn params(&self) -> ConnectParams {
        ConnectParams { login: self.login.clone(), selects: self.selects.clone(), protocol: self.protocol, db: self.db }
    }
}

impl fmt::Debug for LaneKey {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/RESP{}", String::from_utf8_lossy(self.user()), self.db, self.protocol.number())
    }
}

/// Why no lease can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLease {
    #[error("all {0} upstream connections for clients that need one of their own are taken")]
    Taken(usize),
    #[error(transparent)]
    Full(#[from] Full),
}

/// The leases that clients of one worker hold, over all lanes.
#[derive(Default)]
pub struct Leases {
    taken: Cell<usize>,
    links: RefCell<Vec<Weak<Link>>>,
    /// Room for those that are looked after, who may come to the leases meanwhile.
    looked_after: RefCell<Vec<Rc<Link>>>,
}

impl Leases {
    /// Looks after the deadlines of what is leased.
    pub fn on_tick(&self) {
        let mut links = self.looked_after.take();
        links.extend(self.links.borrow().iter().filter_map(Weak::upgrade));
        for link in links.drain(..) {
            link.on_tick();
        }
        self.looked_after.replace(links);
    }

    /// All that is leased looks whether it may go on.
    pub(super) fn wake(&self) {
        self.links.borrow().iter().filter_map(Weak::upgrade).for_each(|link| link.wake());
    }

    /// What leads to this server is lost: nothing will come of it any more.
    pub fn lose(&self, server: &Address) {
        let links: Vec<_> = self.links.borrow().iter().filter_map(Weak::upgrade).collect();
        links.iter().filter(|link| link.leads_to(server)).for_each(|link| link.lose());
    }

    /// The shortest time, but no less than `least`, that one of them has kept its client waiting beyond the deadline.
    pub fn waits_for(&self, least: Duration) -> Option<Duration> {
        self.links.borrow().iter().filter_map(Weak::upgrade).filter_map(|link| link.waits_for(least)).min()
    }

    /// Makes room for a connection that is opened to see whether the server takes it.
    ///
    /// # Errors
    /// The worker's leases are all taken.
    pub fn reserve(self: &Rc<Self>, settings: &Settings) -> Result<Reserved, NoLease> {
        if self.taken.get() >= settings.leases_max {
            return Err(NoLease::Taken(settings.leases_max));
        }
        self.taken.set(self.taken.get() + 1);
        Ok(Reserved(Rc::clone(self)))
    }

    fn end(&self, link: &Rc<Link>) {
        self.taken.set(self.taken.get().saturating_sub(1));
        self.links.borrow_mut().retain(|taken| taken.upgrade().is_some_and(|taken| !Rc::ptr_eq(&taken, link)));
    }
}

/// The room that one connection takes among the leases while it is kept.
pub struct Reserved(Rc<Leases>);

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get().saturating_sub(1));
    }
}

/// Whether a lane's user may run what TTL rules add to writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlFixPermission {
    /// Nobody has asked.
    Unknown,
    Able,
    /// From the first refusal on: writes go out as they are.
    Refused,
}

/// One lane of one worker.
pub struct Lane {
    pub key: LaneKey,
    context: Rc<Context>,
    settings: Rc<WorkerSettings>,
    shared_connection: SharedConnection,
    idle: RefCell<Vec<(Rc<Link>, Instant)>>,
    leases: Rc<Leases>,
    unused_since: Cell<Option<Instant>>,
    /// This user may ask for TTLs; false from the first refusal on.
    pub probes: Cell<bool>,
    /// Whether this user may set TTLs behind writes.
    pub ttl_fix: Cell<TtlFixPermission>,
    /// Whether this user may SET in the place of SETNX.
    pub setnx_fix: Cell<TtlFixPermission>,
}

impl Lane {
    /// Whether its connections lead to a whole cluster.
    pub fn is_cluster(&self) -> bool {
        self.settings.nodes.is_some()
    }

    /// The lane of clients that have said nothing yet, whose shared connection is being opened: whether there is a server
    /// is to be seen from it.
    pub fn first(context: &Rc<Context>, settings: &Rc<WorkerSettings>, leases: &Rc<Leases>, key: LaneKey) -> Rc<Lane> {
        let shared = Link::spawn(context, settings, key.params(), settings.connections.insist(), true, Vec::new());
        shared.represent_server();
        Lane::over(context, settings, leases, key, shared)
    }

    /// A lane over a connection that the server has accepted.
    pub fn over(
        context: &Rc<Context>,
        settings: &Rc<WorkerSettings>,
        leases: &Rc<Leases>,
        key: LaneKey,
        shared: Rc<Link>,
    ) -> Rc<Lane> {
        Rc::new(Lane {
            key,
            context: Rc::clone(context),
            settings: Rc::clone(settings),
            shared_connection: SharedConnection::new(shared),
            idle: RefCell::new(Vec::new()),
            leases: Rc::clone(leases),
            unused_since: Cell::new(None),
            probes: Cell::new(true),
            ttl_fix: Cell::new(TtlFixPermission::Unknown),
            setnx_fix: Cell::new(TtlFixPermission::Unknown),
        })
    }

    /// The connection that all clients of the lane share.
    pub fn shared(&self) -> Rc<Link> {
        self.shared_connection.shared()
    }

    /// The same, unless it has replaced one on which this recipient still has replies outstanding.
    pub fn shared_for(&self, who: &Rc<dyn Recipient>) -> Rc<Link> {
        self.shared_connection.shared_for(who)
    }

    /// Replaces the shared connection, if it is stuck and another one is available.
    pub fn replace_stuck(&self) {
        self.shared_connection.replace_stuck(self);
    }

    /// Lets those read elsewhere who wait behind a connection that is stuck.
    fn relieve(&self) {
        self.shared_connection.relieve(self);
    }

    /// Connections that were lost and have not been ended yet, on any that a client of the lane may come from.
    pub fn orphans(&self) -> Vec<OrphanedConnection> {
        self.shared_connection.orphans()
    }

    /// A question of the proxy's own over the shared connection; `then` hears what came of it.
    pub fn call(&self, question: &[u8], then: impl FnOnce(Answer<'_>) + 'static) {
        call::call(&self.shared(), question, self.settings.request_timeout, then);
    }

    /// A connection for one client alone: an idle one, or a new one that is being opened.
    ///
    /// # Errors
    /// The worker's leases are all taken.
    pub fn lease(&self) -> Result<Rc<Link>, NoLease> {
        if self.leases.taken.get() >= self.settings.leases_max {
            return Err(NoLease::Taken(self.settings.leases_max));
        }
        // What its client has sent on a connection that was lost must not come behind what it sends on this one.
        let orphans = self.orphans();
        let idle = if orphans.is_empty() { self.idle_lease() } else { None };
        let link = match idle {
            Some(link) => link,
            None => self.open(orphans)?,
        };
        self.leases.taken.set(self.leases.taken.get() + 1);
        self.leases.links.borrow_mut().push(Rc::downgrade(&link));
        Ok(link)
    }

    /// The connection with this client's unread replies becomes its lease, if no other client has replies outstanding there.
    pub fn take_over(&self, link: &Rc<Link>, owner: Rc<dyn Recipient>) -> bool {
        if !link.take_over(owner) {
            return false;
        }
        self.shared_connection.forget(link);
        self.leases.taken.set(self.leases.taken.get() + 1);
        self.leases.links.borrow_mut().push(Rc::downgrade(link));
        true
    }

    pub(super) fn open(&self, orphans: Vec<OrphanedConnection>) -> Result<Rc<Link>, Full> {
        let permit = self.settings.connections.take()?;
        let link = Link::spawn(&self.context, &self.settings, self.key.params(), permit, false, orphans);
        link.expect_transactions(self.shared().can_transact());
        Ok(link)
    }

    /// True when a client may have a lease that could do without: half of them are for those that could not.
    pub fn has_leases_to_spare(&self) -> bool {
        (self.leases.taken.get() + 1) * 2 <= self.settings.leases_max
    }

    /// What is known of a permission.
    pub fn permission(&self, permission: Permission) -> &Cell<TtlFixPermission> {
        match permission {
            Permission::Expire => &self.ttl_fix,
            Permission::Set => &self.setnx_fix,
        }
    }

    /// Room for one more connection beside the shared one.
    pub(super) fn reserve(&self) -> Option<Reserved> {
        self.leases.reserve(&self.settings).ok()
    }

    pub(super) fn idle_lease(&self) -> Option<Rc<Link>> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).map(|(link, _)| link).find(|link| link.phase() == Phase::Ready)
    }

    /// Returns a lease: `clean` says that its state is that after the handshake.
    pub fn give_back(&self, link: &Rc<Link>, clean: bool) {
        self.leases.end(link);
        link.orphans().into_iter().for_each(|orphan| self.shared().kill_orphan(orphan));
        self.keep_or_close(link, clean);
    }

    /// A connection whose fitness was proven becomes an idle lease.
    pub fn adopt(&self, link: &Rc<Link>) {
        self.keep_or_close(link, true);
    }

    fn keep_or_close(&self, link: &Rc<Link>, clean: bool) {
        link.set_owner(None);
        // Who is given it next would be the first that the server evicts.
        // Nor does anybody expect to meet it who has left it once.
        let clean = clean && !link.is_retired() && !(link.has_carried_large() && self.context.limits.evicts());
        let mut idle = self.idle.borrow_mut();
        if clean && link.is_clean() && link.phase() == Phase::Ready && idle.len() < IDLE_LEASES_MAX {
            idle.push((Rc::clone(link), clock::now()));
        } else {
            link.close();
        }
    }

    /// Since when the lane has had no client, as far as is known; `None` while it has one.
    pub fn unused_since(self: &Rc<Self>) -> Option<Instant> {
        // One reference is the pool's own.
        let is_used = Rc::strong_count(self) > 1;
        let since = if is_used { None } else { Some(self.unused_since.get().unwrap_or_else(clock::now)) };
        self.unused_since.set(since);
        since
    }

    /// True when the lane has had no client for a while.
    pub fn is_forsaken(self: &Rc<Self>) -> bool {
        self.unused_since().is_some_and(|since| clock::now().saturating_duration_since(since) >= UNUSED_MAX)
    }

    /// True when the server does not take its clients any more.
    pub fn is_revoked(&self) -> bool {
        self.shared_connection.is_revoked()
    }

    /// Asks another lane's connection, when it is unclear whether this lane's clients may continue.
    pub fn resolve_doubt(&self, others: &Lane) {
        self.shared_connection.resolve_doubt(&others.shared());
    }

    /// Looks whether the head of the shared connection keeps others waiting, and puts another one in its place if so; true
    /// while something is owed.
    pub fn watch(&self) -> bool {
        let is_owed = self.shared_connection.look_at_heads();
        if is_owed {
            self.replace_stuck();
            self.relieve();
        }
        is_owed
    }

    /// A connection of the lane whose head does not move although the server answers on another one.
    pub fn still(&self) -> Option<Rc<Link>> {
        self.shared_connection.still()
    }

    /// The shortest time, but no less than `least`, that a connection that clients share has been silent although it owes
    /// something.
    pub fn waits_for(&self, least: Duration) -> Option<Duration> {
        self.shared_connection.waits_for(least)
    }

    /// Closes the connections that nobody has.
    pub fn close_idle(&self) {
        self.idle.borrow_mut().drain(..).for_each(|(link, _)| link.close());
    }

    /// Looks after deadlines of the shared connection and lets old leases go.
    pub fn on_tick(&self) {
        if let Some(unneeded) = self.shared_connection.on_tick() {
            self.adopt(&unneeded);
        }
        self.replace_stuck();
        self.relieve();
        let now = clock::now();
        self.idle.borrow_mut().retain(|(link, since)| {
            let keep = now.saturating_duration_since(*since) < IDLE_MAX && link.phase() == Phase::Ready;
            if !keep {
                link.close();
            }
            keep
        });
    }

    /// All its connections look whether they may go on.
    pub(super) fn wake(&self) {
        self.shared_connection.wake();
        self.idle.borrow().iter().for_each(|(link, _)| link.wake());
    }

    /// The same; what its server may still read is to be ended before anything of its clients is sent on others.
    pub fn abandon(&self) -> Vec<OrphanedConnection> {
        self.close_idle();
        self.shared_connection.abandon()
    }

    /// Closes everything.
    pub fn close(&self) {
        self.shared_connection.close();
        self.close_idle();
    }
}
