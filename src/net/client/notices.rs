//! Maintenance notifications: clients that asked for them are told when the process is about to end, and leave by themselves
//! (<https://redis.io/docs/latest/develop/clients/sch/>).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::Connection;
use crate::net::registry::Client;
use respguard_resp::request::Args;
use respguard_resp::{Protocol, encode};

/// Stands for the command at servers that do not have it: who may run it may ask.
pub(super) fn permission() -> Vec<Box<[u8]>> {
    [b"CLIENT".as_slice(), b"ID"].map(Into::into).to_vec()
}

/// CLIENT MAINT_NOTIFICATIONS ON | OFF [moving-endpoint-type TYPE]. Whatever the type, no other endpoint is ever named.
pub(super) fn change(client: &Client, args: Args<'_>, out: &mut Vec<u8>) {
    let is = |place: usize, word: &[u8]| args.get(place).is_some_and(|given| given.eq_ignore_ascii_case(word));
    let has_type = args.len() == 5 && is(3, b"moving-endpoint-type");
    if (is(2, b"on") || is(2, b"off")) && (args.len() == 3 || has_type) {
        client.ask_for_notices(is(2, b"on"));
        encode::simple(out, "OK");
    } else {
        encode::error(out, "ERR syntax error");
    }
}

/// The push that says that within so many seconds this connection ends, and that its client should connect again to the
/// address that it knows.
fn moving(number: u64, seconds: u64) -> Vec<u8> {
    format!(">4\r\n$6\r\nMOVING\r\n:{number}\r\n:{seconds}\r\n_\r\n").into_bytes()
}

impl Connection {
    /// While the process drains: whether this client has asked to be told and so has time to leave by itself. It is told once,
    /// behind what it is owed.
    pub(super) fn has_notice(&mut self) -> bool {
        let notice = self.shared.context.notice.get();
        let asked = self.client.wants_notices() && notice > Duration::ZERO;
        let takes_pushes = {
            let session = &self.exchange.state.borrow().session;
            session.protocol == Protocol::Resp3 && !session.affinity.is_tunnel()
        };
        asked && takes_pushes
    }

    /// Tells it, unless it has been told; true if it is told now.
    pub(super) fn give_notice(&mut self) -> bool {
        if std::mem::replace(&mut self.is_told_to_move, true) {
            return false;
        }
        // A successor's notices have other numbers: libraries take one that they know for the same.
        let number = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = self.shared.context.notice.get().as_secs().max(1);
        self.exchange.answer(moving(number, seconds));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_names_no_other_endpoint() {
        assert_eq!(moving(7, 15), b">4\r\n$6\r\nMOVING\r\n:7\r\n:15\r\n_\r\n");
    }
}
