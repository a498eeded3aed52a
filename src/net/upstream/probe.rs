//! Asks a server that has failed too often whether it is back.

use std::rc::Rc;

use super::PING;
use super::lane::Lane;
use crate::net::clock;
use crate::net::context::Context;
use respguard_engine::link::breaker::is_state_error;

/// Sends the question over the lane's shared connection, and tells the context what comes of it.
///
/// Any answer will do that is not about the server's state: who may not PING is told so by a server that serves.
pub fn send(context: &Rc<Context>, lane: &Lane) {
    let context = Rc::clone(context);
    lane.call(PING, move |answer| {
        let served = answer.reply().is_some_and(|reply| !is_state_error(reply));
        context.health.conclude(served, clock::now());
    });
}
