//! What happens to commands of a client that has not logged in to the proxy yet.

use super::decide::{Decision, is_cross_protocol};
use super::plan::{Answer, Barrier, Planner};
use crate::command::{ConnectionEffect, Lane, PinReason, Transaction};
use crate::session::Admission;
use crate::session::lane::LaneChange;
use respguard_resp::request::Args;

/// Redis' own texts (<https://redis.io/docs/latest/commands/auth/>).
const NOAUTH: &str = "NOAUTH Authentication required.";
const NOAUTH_EXEC: &str = "EXECABORT Transaction discarded because of: NOAUTH Authentication required.";
const NOAUTH_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time";
const NOPROTO: &str = "NOPROTO unsupported protocol version";
const NO_VERSION: &str = "ERR Protocol version is not an integer or out of range";
const AUTH_ARITY: &str = "ERR wrong number of arguments for 'auth' command";
const SYNTAX: &str = "ERR syntax error";

impl Planner<'_> {
    /// Nothing of an unauthenticated client reaches the server: he may log in, start over or leave.
    pub(super) fn decide_unauthenticated(&mut self, at: usize) -> Decision {
        let args = self.args(at);
        match self.spec(at).connection_effect(args) {
            ConnectionEffect::Lane(lane) => match LaneChange::read(lane, args) {
                Some(change) if change.login.is_some() => Decision::Barrier(Barrier::Lane),
                _ => Decision::Answer(Answer::Refuse(refusal(lane, args))),
            },
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
            ConnectionEffect::Pin(PinReason::Unknown) if is_cross_protocol(args) => Decision::Barrier(Barrier::Close),
            ConnectionEffect::Transaction(Transaction::Exec) => Decision::Answer(Answer::Refuse(NOAUTH_EXEC)),
            _ => Decision::Answer(Answer::Refuse(NOAUTH)),
        }
    }

    /// The command would log in to the proxy.
    pub(super) fn is_login(&self, lane: Lane, args: Args<'_>) -> bool {
        self.session.admission != Admission::Upstream && LaneChange::read(lane, args).is_some_and(|change| change.login.is_some())
    }
}

fn refusal(lane: Lane, args: Args<'_>) -> &'static str {
    match (lane, args.get(1)) {
        (Lane::Auth, None) => AUTH_ARITY,
        (Lane::Auth, Some(_)) => SYNTAX,
        (Lane::Hello, None | Some(b"2" | b"3")) => NOAUTH_HELLO,
        (Lane::Hello, Some(version)) if version.iter().all(u8::is_ascii_digit) => NOPROTO,
        (Lane::Hello, Some(_)) => NO_VERSION,
        (Lane::Select, _) => NOAUTH,
    }
}
