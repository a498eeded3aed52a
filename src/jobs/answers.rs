//! Reads answers of a server: a page of SCAN, an error, its time.

use bytes::Bytes;

use super::stop::Stop;
use respguard_engine::pipeline::violation::error_word;
use respguard_resp::scan::elements;
use respguard_resp::value;

/// One page of SCAN and its kin (<https://redis.io/docs/latest/commands/scan/>).
pub(super) struct Page {
    pub(super) cursor: Vec<u8>,
    pub(super) found: Vec<Bytes>,
}

impl Page {
    pub(super) fn read(reply: &Bytes) -> Result<Page, Stop> {
        refused(reply)?;
        let mut parts = elements(reply);
        let cursor = parts.next().and_then(value::bulk).map(<[u8]>::to_vec);
        let found = parts.next().map(|found| elements(found).filter_map(value::bulk).map(|bulk| reply.slice_ref(bulk)).collect());
        match (cursor, found) {
            (Some(cursor), Some(found)) => Ok(Page { cursor, found }),
            _ => Err(Stop::Failed("the server's answer to a SCAN cannot be read".to_owned())),
        }
    }
}

/// What the server does not let this user find out stays unknown; a key of another type is none of the relation's.
pub(super) fn refused(reply: &[u8]) -> Result<(), Stop> {
    let error = value::error_text(reply);
    if !value::is_error(reply) || error.starts_with(b"WRONGTYPE") { Ok(()) } else { Err(Stop::Unknown(told(error))) }
}

/// The server's error, as far as it can hold no key.
pub(super) fn told(error: &[u8]) -> String {
    error_word(error).to_owned()
}

/// In milliseconds, as TIME answers (<https://redis.io/docs/latest/commands/time/>).
pub(super) fn server_ms(time: &[u8]) -> Option<i64> {
    let mut parts = elements(time).filter_map(value::bulk).map(|part| String::from_utf8_lossy(part).parse::<i64>());
    Some(parts.next()?.ok()? * 1000 + parts.next()?.ok()? / 1000)
}
