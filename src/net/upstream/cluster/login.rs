//! AUTH, HELLO and SELECT: the client continues on connections of another lane. Existing ones are shared, and nothing that
//! changes them is ever sent on one.

use std::rc::Rc;

use tracing::debug;

use super::core::Core;
use super::entry::{Entry, Kind, Phase};
use super::gather;
use super::intake::Request;
use super::state::State;
use crate::net::upstream::connect::OpenError;
use crate::net::upstream::lane::LaneKey;
use respguard_engine::command::Lane;
use respguard_engine::link::handshake::{Refusal, Selects, ServerInfo, Step};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::route::merge::Merge;
use respguard_engine::session::lane::LaneChange;
use respguard_resp::encode;

/// It tells about the connection, and changes nothing.
const HELLO: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";

/// What a client wants to be.
pub(super) struct Login {
    key: LaneKey,
    is_hello: bool,
}

pub(super) fn take(core: &Core, request: &Request<'_>, lane: Lane, entry: &mut Entry) {
    // A node says what is wrong with its form.
    let Some(change) = LaneChange::read(lane, request.args) else { return };
    if let Some(db) = change.db.filter(|_| !core.nodes.has_databases()) {
        match db {
            0 => encode::simple(&mut entry.reply, "OK"),
            _ => encode::error(&mut entry.reply, "ERR SELECT is not allowed in cluster mode"),
        }
        entry.kind = Kind::ProxyReply;
        return;
    }
    let key = core.key.borrow().clone();
    // It is there: the connections to the nodes are, so that asking one changes nothing.
    if change.db == Some(key.db) {
        return;
    }
    let wanted = LaneKey {
        login: change.login.clone().or_else(|| key.login.clone()),
        selects: Selects::Itself,
        protocol: change.protocol.unwrap_or(key.protocol),
        db: change.db.unwrap_or(key.db),
    };
    let is_hello = lane == Lane::Hello;
    if change.login.is_none() && change.db.is_none() && wanted.protocol == key.protocol {
        return gather::one(HELLO, Merge::Hello, entry);
    }
    entry.is_fence = true;
    entry.kind = Kind::Login(Box::new(Login { key: wanted, is_hello }));
}

impl Core {
    /// Asks a node whether it takes the login and the protocol.
    pub(super) fn begin_login(&self, state: &mut State, place: usize) -> usize {
        let number = state.first + place as u64;
        let Kind::Login(login) = &state.queue[place].kind else { return 0 };
        let (mut key, is_hello, old) = (login.key.clone(), login.is_hello, self.key.borrow().clone());
        let Some(core) = self.me.upgrade() else { return 0 };
        state.queue[place].phase = Phase::Sent;
        tokio::task::spawn_local(async move {
            let nodes = Rc::clone(&core.nodes);
            let longest = nodes.settings.connect_timeout;
            let verify = async |key: &LaneKey| {
                let verified = tokio::time::timeout(longest, nodes.verify(key, &key.params())).await;
                verified.unwrap_or(Err(OpenError::NoCluster))
            };
            let mut verified = verify(&key).await;
            // A login leaves a client in its database, where the new user need not be allowed to go.
            let may_not_go = |refusal: &Refusal| refusal.step == Step::Select && key.db == old.db;
            if matches!(&verified, Err(OpenError::Refused { refusal, .. }) if may_not_go(refusal)) {
                key.selects = match old.selects {
                    Selects::Itself => Selects::Before(old.login),
                    before => before,
                };
                verified = verify(&key).await;
            }
            core.end_login(number, key, is_hello, verified);
        });
        1
    }

    fn end_login(&self, number: u64, key: LaneKey, is_hello: bool, verified: Result<ServerInfo, OpenError>) {
        let state = &mut *self.state.borrow_mut();
        let place = number.checked_sub(state.first).and_then(|place| usize::try_from(place).ok());
        let Some(place) = place.filter(|place| *place < state.queue.len() && !self.has_left.get()) else { return };
        match verified {
            Ok(_) => {
                self.nodes.end_orphans(&key);
                self.key.replace(key);
                state.streams.forget_ways();
                if is_hello {
                    let entry = &mut state.queue[place];
                    gather::one(HELLO, Merge::Hello, entry);
                    entry.phase = Phase::Waiting;
                } else {
                    encode::simple(&mut state.queue[place].reply, "OK");
                    state.finish(place, Phase::Done);
                }
            }
            Err(OpenError::Refused { refusal, .. }) => {
                state.queue[place].reply.extend_from_slice(&refusal.reply);
                state.finish(place, Phase::Done);
            }
            // That no node was asked is no answer of a node's.
            Err(error) => {
                debug!(%error, "no node has said whether it takes a login");
                state.finish(place, Phase::Failed(Fault::Unavailable));
            }
        }
        self.has_news.set(true);
        self.wake();
    }
}
