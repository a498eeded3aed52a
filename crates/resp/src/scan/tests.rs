//! Tests of `scan`.

use super::*;

fn scan(bytes: &[u8]) -> (Result<Scanned, ScanError>, Top) {
    scan_with(ScanLimits::default(), bytes)
}

fn scan_with(limits: ScanLimits, bytes: &[u8]) -> (Result<Scanned, ScanError>, Top) {
    let mut scanner = ReplyScanner::new(limits);
    let scanned = scanner.scan(bytes);
    (scanned, scanner.top())
}

fn whole(bytes: &[u8]) -> Top {
    let (scanned, top) = scan(bytes);
    assert_eq!(scanned, Ok(Scanned { bytes: bytes.len(), end: true }), "{:?}", bytes.escape_ascii().to_string());
    top
}

fn broken(bytes: &[u8]) -> ScanError {
    let scanned = scan(bytes).0;
    scanned.expect_err(&bytes.escape_ascii().to_string())
}

#[test]
fn every_type_is_bounded() {
    for frame in [
        "+OK\r\n",
        "+\r\n",
        "-ERR no\r\n",
        ":0\r\n",
        ":-12\r\n",
        ":+7\r\n",
        "$0\r\n\r\n",
        "$4\r\n\r\n\r\n\r\n",
        "*0\r\n",
        "*2\r\n:1\r\n+a\r\n",
        "_\r\n",
        ",1.5e-3\r\n",
        ",-inf\r\n",
        "#t\r\n",
        "#f\r\n",
        "(-123456789012345678901\r\n",
        "(\r\n",
        "!3\r\nERR\r\n",
        "=7\r\ntxt:abc\r\n",
        "%1\r\n+k\r\n*1\r\n:1\r\n",
        "~2\r\n:1\r\n:2\r\n",
        ">2\r\n+a\r\n+b\r\n",
    ] {
        let top = whole(frame.as_bytes());
        assert_eq!((top.kind, top.errors), (frame.as_bytes()[0], 0));
    }
}

#[test]
fn a_frame_ends_where_the_next_begins() {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    assert_eq!(scanner.scan(b"*1\r\n:1\r\n-E\r\n"), Ok(Scanned { bytes: 8, end: true }));
    assert_eq!(scanner.scan(b""), Ok(Scanned { bytes: 0, end: false }));
    assert_eq!(scanner.top(), Top { kind: b'*', elements: 1, ..Top::default() });
    assert!(scanner.is_between_frames());
    assert_eq!(scanner.scan(b"-E"), Ok(Scanned { bytes: 2, end: false }));
    assert!(!scanner.is_between_frames());
    assert_eq!(scanner.top(), Top { kind: b'-', ..Top::default() });
    assert_eq!(scanner.scan(b"\r\n"), Ok(Scanned { bytes: 2, end: true }));
}

#[test]
fn whole_plain_frames_are_taken_together_up_to_the_first_other_one() {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let plain = b"+OK\r\n$3\r\na\r\n\r\n$-1\r\n:42\r\n_\r\n";
    for other in [&b"-ERR no\r\n"[..], b"*0\r\n", b"+PONG\r\n", b"$3\r\nab", b"$3\r\nabc\rd", b":4", b""] {
        let bytes = [&plain[..], other].concat();
        assert_eq!(scanner.scan_plain(&bytes, 9), PlainFrames { bytes: plain.len(), frames: 5 }, "{}", other.escape_ascii());
        assert_eq!(scanner.scan_plain(&bytes, 2), PlainFrames { bytes: 14, frames: 2 });
    }
    assert!(scanner.scan(b"$3\r\na").is_ok());
    assert_eq!(scanner.scan_plain(b"+OK\r\n", 9).frames, 0, "a frame is in progress");
}

#[test]
fn nulls_of_both_protocols_are_told_at_the_top_only() {
    for frame in [&b"$-1\r\n"[..], b"*-1\r\n", b"_\r\n"] {
        assert!(whole(frame).null);
        assert!(!whole(&[b"*1\r\n", frame].concat()).null);
    }
    assert!(!whole(b"$0\r\n\r\n").null);
    assert!(!whole(b"*0\r\n").null);
}

#[test]
fn errors_among_the_elements_are_counted_but_not_those_further_in() {
    let top = whole(b"*4\r\n*1\r\n-IN\r\n:1\r\n-ERR a\r\n!1\r\nb\r\n");
    assert_eq!(top, Top { kind: b'*', elements: 4, errors: 2, first_error: 2, null: false });
    assert_eq!(whole(b"-ERR a\r\n").errors, 0);
}

#[test]
fn a_map_declares_keys_and_values() {
    assert_eq!(whole(b"%2\r\n+a\r\n:1\r\n+b\r\n-E\r\n"), Top { kind: b'%', elements: 4, errors: 1, first_error: 3, null: false });
}

#[test]
fn attributes_belong_to_what_follows_them() {
    let top = whole(b"|1\r\n+ttl\r\n-3600\r\n*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n-E\r\n");
    assert_eq!(top, Top { kind: b'*', elements: 2, errors: 1, first_error: 1, null: false });
    assert_eq!(whole(b"|0\r\n|1\r\n+a\r\n+b\r\n+OK\r\n").kind, b'+');
    let attributes_alone = b"|1\r\n+a\r\n+b\r\n";
    assert_eq!(scan(attributes_alone).0, Ok(Scanned { bytes: attributes_alone.len(), end: false }));
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    scanner.scan(attributes_alone).expect("attributes are well-formed");
    assert!(!scanner.is_between_frames());
}

#[test]
fn a_push_amid_an_aggregate_takes_no_place_in_it() {
    let top = whole(b"*2\r\n>3\r\n+message\r\n+ch\r\n-E\r\n:1\r\n-E\r\n");
    assert_eq!(top, Top { kind: b'*', elements: 2, errors: 1, first_error: 1, null: false });
    assert_eq!(whole(b"*1\r\n>0\r\n:1\r\n").elements, 1);
    assert_eq!(whole(b">1\r\n>1\r\n:1\r\n:1\r\n").kind, b'>');
}

#[test]
fn a_line_break_alone_breaks_the_stream() {
    for (bytes, kind) in [(&b"+a\nb\r\n"[..], b'+'), (b"-a\rb\r\n", b'-'), (b"$1\n", b'$'), (b"$1\rx", b'$'), (b",1\n", b',')] {
        assert_eq!(broken(bytes), ScanError::StrayLineBreak(kind));
    }
    assert_eq!(broken(b"$1\r\nab\r\n"), ScanError::UnterminatedPayload);
    assert_eq!(broken(b"$1\r\na\r\r\n"), ScanError::UnterminatedPayload);
}

#[test]
fn lengths_and_values_must_read_as_such() {
    for kind in *b"$*!=%~>|" {
        for text in ["", "-2", "01", "+1", "-0", "1a", "?", "99999999999999999999"] {
            let head = [&[kind][..], text.as_bytes(), b"\r\n"].concat();
            assert_eq!(broken(&head), ScanError::InvalidLength(kind), "{:?}", head.escape_ascii().to_string());
        }
    }
    for head in ["!-1\r\n", "=-1\r\n", "%-1\r\n", "~-1\r\n", ">-1\r\n", "|-1\r\n"] {
        assert_eq!(broken(head.as_bytes()), ScanError::InvalidLength(head.as_bytes()[0]));
    }
    for frame in [":\r\n", ":9223372036854775808\r\n", ":a\r\n", ":1+\r\n", "#x\r\n", "#\r\n", "#tt\r\n", "_a\r\n", ",\r\n"] {
        assert_eq!(broken(frame.as_bytes()), ScanError::InvalidValue(frame.as_bytes()[0]), "{frame:?}");
    }
    assert_eq!(broken(b"x"), ScanError::UnknownType(b'x'));
    assert_eq!(broken(b";4\r\n"), ScanError::UnknownType(b';'));
}

#[test]
fn every_limit_holds_on_both_sides() {
    let limits = ScanLimits { depth_max: 2, elements_max: 3, bulk_bytes_max: 4 };
    let scan = |bytes: &[u8]| scan_with(limits, bytes).0.map(|scanned| scanned.end);
    assert_eq!(scan(b"*1\r\n*1\r\n:1\r\n"), Ok(true));
    assert_eq!(scan(b"*1\r\n*1\r\n*0\r\n"), Ok(true));
    assert_eq!(scan(b"*1\r\n*1\r\n*1\r\n"), Err(ScanError::TooDeep));
    assert_eq!(scan(b"*3\r\n"), Ok(false));
    assert_eq!(scan(b"*4\r\n"), Err(ScanError::TooLong(b'*')));
    assert_eq!(scan(b"%3\r\n"), Ok(false));
    assert_eq!(scan(b"%4\r\n"), Err(ScanError::TooLong(b'%')));
    assert_eq!(scan(b"$4\r\n"), Ok(false));
    assert_eq!(scan(b"$5\r\n"), Err(ScanError::TooLong(b'$')));
    assert_eq!(scan(b"+abcd\r\n"), Ok(true));
    assert_eq!(scan(b"+abcde"), Err(ScanError::TooLong(b'+')));
    assert_eq!(scan(b"$9223372036854775808\r\n"), Err(ScanError::InvalidLength(b'$')));
    assert_eq!(scan(b"$9223372036854775807\r\n"), Err(ScanError::TooLong(b'$')));
}

#[test]
fn default_limits_take_what_redis_can_send() {
    let nested = b"*1\r\n".repeat(8192);
    assert_eq!(scan(&nested).0.map(|scanned| scanned.end), Ok(false));
    assert_eq!(scan(&[&nested[..], b"*1\r\n"].concat()).0, Err(ScanError::TooDeep));
    assert_eq!(scan(b"*2147483647\r\n").0.map(|scanned| scanned.end), Ok(false));
    assert_eq!(scan(b"%2147483647\r\n").1.elements, 4_294_967_294);
    assert_eq!(scan(b"*2147483648\r\n").0, Err(ScanError::TooLong(b'*')));
}

#[test]
fn an_error_is_repeated() {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    assert_eq!(scanner.scan(b"x"), Err(ScanError::UnknownType(b'x')));
    assert_eq!(scanner.scan(b"+OK\r\n"), Err(ScanError::UnknownType(b'x')));
}
