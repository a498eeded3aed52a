//! Checks that every value survives the round trip, and that a damaged one is never read as another.

use super::*;
use proptest::prelude::*;

const METHODS: [Method; 3] = [Method::Zstd(1), Method::Zstd(3), Method::Lz4];

/// What comes back of what is stored.
fn round(value: &[u8], method: Option<Method>) -> Vec<u8> {
    let stored = pack(value, method).unwrap_or_else(|| value.to_vec());
    unpack(&stored, VALUE_BYTES_MAX).expect("it is whole").unwrap_or(stored)
}

#[test]
fn text_becomes_smaller_and_comes_back() {
    let value = br#"{"name":"a","tags":["x","y"]},"#.repeat(200);
    for method in METHODS {
        let stored = pack(&value, Some(method)).expect("it is smaller");
        assert!(stored.len() < value.len() / 2 && is_packed(&stored), "{method:?}: {}", stored.len());
        assert_eq!(unpack(&stored, VALUE_BYTES_MAX), Ok(Some(value.clone())));
    }
}

#[test]
fn what_gains_less_than_a_tenth_or_may_be_a_number_stays_as_it_is() {
    let mut noise = 1_u64;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) as u8
    })
    .take(5000)
    .collect();
    assert_eq!(pack(&random, Some(Method::Zstd(3))), None);
    let number = b"0.".iter().chain(std::iter::repeat_n(&b'0', 4000)).copied().collect::<Vec<_>>();
    assert_eq!(pack(&number, Some(Method::Zstd(3))), None);
    assert!(pack(&[number, vec![b'0'; 2000]].concat(), Some(Method::Zstd(3))).is_some(), "no number is so long");
}

#[test]
fn a_value_that_begins_as_a_header_does_is_stored_behind_one() {
    for tail in [&b""[..], b"x", b"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00"] {
        let value = [&MAGIC[..], tail].concat();
        for method in [None, Some(Method::Lz4)] {
            assert!(pack(&value, method).is_some());
            assert_eq!(round(&value, method), value);
        }
    }
}

#[test]
fn what_is_damaged_is_said_and_nothing_is_taken_for_a_promise() {
    let value = vec![b'a'; 10_000];
    let stored = pack(&value, Some(Method::Zstd(3))).expect("it is smaller");
    let with = |at: usize, byte: u8| {
        let mut other = stored.clone();
        other[at] = byte;
        unpack(&other, 100_000).expect_err("it is damaged")
    };
    assert_eq!((with(8, 2), with(9, 7)), (Corrupt::Version(2), Corrupt::Algorithm(7)));
    assert_eq!(with(14, stored[14] ^ 1), Corrupt::Checksum);
    assert_eq!(with(10, stored[10] ^ 1), Corrupt::Data);
    assert!(matches!(with(13, 0x1f), Corrupt::TooLong { max: 100_000, .. }));
    assert_eq!(unpack(&stored[..12], 100_000), Err(Corrupt::Short));
    assert_eq!(unpack(&stored, 9_999), Err(Corrupt::TooLong { bytes: 10_000, max: 9_999 }));
    assert!(unpack(&stored, 10_000).is_ok());
}

proptest! {
    #[test]
    fn every_byte_string_comes_back(value in values(), method in prop::option::of(prop::sample::select(&METHODS[..]))) {
        prop_assert_eq!(round(&value, method), value);
    }

    #[test]
    fn what_is_flipped_is_an_error_or_another_way_to_write_the_value(value in "[ab]{600,900}", at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut stored = pack(value.as_bytes(), Some(Method::Lz4)).expect("it is smaller");
        let at = at.index(stored.len() - MAGIC.len()) + MAGIC.len();
        stored[at] ^= 1 << bit;
        if let Ok(read) = unpack(&stored, 100_000) {
            prop_assert_eq!(read.as_deref(), Some(value.as_bytes()));
        }
    }

    #[test]
    fn no_header_makes_it_panic(tail in prop::collection::vec(any::<u8>(), 0..80), algorithm in 0u8..4) {
        let mut stored = [&MAGIC[..], &[1, algorithm], &tail].concat();
        let _ = unpack(&stored, 1_000_000);
        stored.truncate(17);
        prop_assert!(unpack(&stored, 1_000_000).is_err());
    }
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let runs = (any::<u8>(), 0usize..9000).prop_map(|(byte, times)| vec![byte; times]);
    let headed = bytes.clone().prop_map(|tail| [&MAGIC[..], &tail].concat());
    prop_oneof![bytes, runs, headed]
}
