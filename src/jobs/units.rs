//! Splits a pipeline of questions into parts that can be asked separately: commands about one key, and whole transactions.

use std::ops::Range;

use super::server_connection::QueryError;
use crate::net::address::Address;
use respguard_engine::route::slots::key_slot;
use respguard_resp::scan::{ReplyScanner, ScanLimits, elements};
use respguard_resp::value;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) bytes: Range<usize>,
    /// The number of its first reply, and how many there are.
    pub(super) first: usize,
    pub(super) frames: usize,
    pub(super) slot: u16,
    /// The slot is on its way there.
    pub(super) asks: Option<Address>,
}

/// All of them. Each command but MULTI and EXEC has its key behind its name.
pub(super) fn units(requests: &[u8]) -> Result<Vec<Unit>, QueryError> {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let mut units: Vec<Unit> = Vec::new();
    let (mut start, mut scanned, mut number) = (0, 0, 0);
    let mut is_open = false;
    while scanned < requests.len() {
        let piece = scanner.scan(&requests[scanned..])?;
        scanned += piece.bytes;
        if !piece.end {
            break;
        }
        let mut words = elements(&requests[start..scanned]).map(|word| value::bulk(word).unwrap_or_default());
        let (name, key) = (words.next().unwrap_or_default(), words.next());
        let slot = key.map(key_slot);
        match units.last_mut().filter(|_| is_open) {
            Some(open) => {
                open.bytes.end = scanned;
                open.frames += 1;
                // Its first command says where it goes.
                if let Some(slot) = slot.filter(|_| open.frames == 2) {
                    open.slot = slot;
                }
            }
            None => {
                let slot = slot.unwrap_or_default();
                units.push(Unit { bytes: start..scanned, first: number, frames: 1, slot, asks: None });
            }
        }
        match name {
            b"MULTI" => is_open = true,
            b"EXEC" => is_open = false,
            _ => {}
        }
        number += 1;
        start = scanned;
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_resp::encode;

    #[test]
    fn transactions_stay_whole_and_all_else_goes_by_its_key() {
        let mut requests = Vec::new();
        let lines = ["EXISTS a", "MULTI", "EXISTS b", "PTTL b", "EXEC", "SISMEMBER c d"];
        lines.iter().for_each(|line| {
            encode::request(&mut requests, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        });
        let units = units(&requests).expect("they can be read");
        let told: Vec<_> = units.iter().map(|unit| (unit.first, unit.frames, unit.slot)).collect();
        assert_eq!(told, [(0, 1, key_slot(b"a")), (1, 4, key_slot(b"b")), (5, 1, key_slot(b"c"))]);
        assert_eq!(units[0].bytes.start, 0);
        assert!(units.windows(2).all(|pair| pair[0].bytes.end == pair[1].bytes.start));
        assert_eq!(units[2].bytes.end, requests.len());
    }
}
