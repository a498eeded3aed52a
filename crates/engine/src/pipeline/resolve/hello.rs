//! HELLO's reply, with the client's id in the proxy.

use crate::session::Session;
use respguard_resp::scan::elements;
use respguard_resp::{Protocol, encode, value};

/// Takes one piece of the answer, with what it says about the session.
pub(super) fn admit(piece: &[u8], is_first: bool, session: &mut Session, client_id: u64, out: &mut Vec<u8>) {
    if is_first {
        session.note_reply(piece);
    }
    // On a lease of its own HELLO changes the protocol, which only its answer proves.
    match piece.first() {
        Some(b'%') if is_first => session.protocol = Protocol::Resp3,
        Some(b'*') if is_first => session.protocol = Protocol::Resp2,
        _ => {}
    }
    put_id(piece, client_id, out);
}

/// Puts the proxy's id of the client in the place of the upstream connection's.
fn put_id(reply: &[u8], client_id: u64, out: &mut Vec<u8>) {
    let Some(id) = value_of_id(reply) else {
        out.extend_from_slice(reply);
        return;
    };
    let start = id.as_ptr() as usize - reply.as_ptr() as usize;
    out.extend_from_slice(&reply[..start]);
    encode::integer(out, i64::try_from(client_id).unwrap_or(i64::MAX));
    out.extend_from_slice(&reply[start + id.len()..]);
}

/// The element behind the key `id` of HELLO's answer, a map or a flat array
/// (<https://redis.io/docs/latest/commands/hello/>).
fn value_of_id(reply: &[u8]) -> Option<&[u8]> {
    if !matches!(reply.first(), Some(b'%' | b'*')) {
        return None;
    }
    let mut parts = elements(reply);
    while let Some(key) = parts.next() {
        let value = parts.next()?;
        if value::bulk(key) == Some(b"id") {
            return Some(value);
        }
    }
    None
}
