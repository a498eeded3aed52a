//! Tests of `request`.

use super::*;

const ANY: usize = usize::MAX;

fn parse(input: &[u8]) -> Parsed {
    parse_with(Limits::default(), input, ANY)
}

fn parse_with(limits: Limits, input: &[u8], whole_bytes_max: usize) -> Parsed {
    RequestParser::new(limits).parse(input, &mut Vec::new(), &mut Vec::new(), whole_bytes_max)
}

fn arguments(input: &[u8]) -> Vec<Vec<u8>> {
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    match RequestParser::new(Limits::default()).parse(input, &mut spans, &mut arena, ANY) {
        Parsed::Request { inline, .. } => {
            let bytes = if inline { &arena } else { input };
            Args::new(bytes, &spans).iter().map(<[u8]>::to_vec).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn refused(input: &[u8]) -> String {
    match parse(input) {
        Parsed::Error(error) => error.to_string(),
        other => panic!("{other:?} for {:?}", input.escape_ascii().to_string()),
    }
}

#[test]
fn spans_of_one_vector_serve_many_requests() {
    let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n";
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    let mut parser = RequestParser::new(Limits::default());
    assert_eq!(parser.parse(input, &mut spans, &mut arena, ANY), Parsed::Request { bytes: 20, inline: false });
    let second = &input[20..];
    assert_eq!(parser.parse(second, &mut spans, &mut arena, ANY), Parsed::Request { bytes: 14, inline: false });
    assert!(parser.is_between_requests());
    assert_eq!(spans.len(), 3);
    let args = Args::new(input, &spans[..2]);
    assert_eq!((args.get(0), args.get(1), args.get(2)), (Some(&b"GET"[..]), Some(&b"k"[..]), None));
    assert_eq!(args.from(1).iter().collect::<Vec<_>>(), [b"k"]);
    assert!(args.from(2).is_empty() && args.from(3).is_empty());
    assert_eq!(Args::new(second, &spans[2..]).get(0), Some(&b"PING"[..]));
}

#[test]
fn blank_lines_and_empty_multibulks_are_nothing() {
    for (input, bytes) in [(&b"\r\n"[..], 2), (b"\n", 1), (b" \t\r\nX", 4), (b"*0\r\nX", 4), (b"*-1\r\n", 5), (b"*-7\r\n", 5)] {
        assert_eq!(parse(input), Parsed::Nothing { bytes }, "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn inline_requests_end_with_a_line_feed_alone_too() {
    assert_eq!(parse(b"PING\nPING\n"), Parsed::Request { bytes: 5, inline: true });
    assert_eq!(parse(b"PING\r\nPING\n"), Parsed::Request { bytes: 6, inline: true });
    assert_eq!(arguments(b"set  k \"a b\"\r\n"), [&b"set"[..], b"k", b"a b"]);
}

#[test]
fn an_inline_request_with_a_nul_never_ends() {
    assert_eq!(parse(b"PI\0NG\r\nPING\r\n"), Parsed::Incomplete);
}

#[test]
fn the_bytes_behind_a_payload_and_a_carriage_return_are_skipped_unseen() {
    assert_eq!(arguments(b"*1\rX$4\rXPINGab"), [b"PING"]);
}

#[test]
fn a_span_may_be_empty() {
    assert_eq!(arguments(b"*2\r\n$0\r\n\r\n$0\r\n\r\n"), [b"", b""]);
}

#[test]
fn errors_read_as_those_of_redis() {
    for (input, text) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$+1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\nxyz\r\n", "expected '$', got 'x'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"a \"b\r\n", "unbalanced quotes in request"),
    ] {
        assert_eq!(refused(input), format!("Protocol error: {text}"), "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn an_error_is_repeated() {
    let mut parser = RequestParser::new(Limits::default());
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    let error = Parsed::Error(ProtocolError::InvalidMultibulkLength);
    assert_eq!(parser.parse(b"*x\r\n", &mut spans, &mut arena, ANY), error);
    assert_eq!(parser.parse(b"PING\r\n", &mut spans, &mut arena, ANY), error);
}

#[test]
fn each_declared_limit_holds_from_the_next_number_on() {
    let limits = Limits { bulk_bytes_max: 4, arguments_max: 2, ..Limits::default() };
    assert_eq!(parse_with(limits, b"*2\r\n$4\r\n", ANY), Parsed::Incomplete);
    assert_eq!(parse_with(limits, b"*3\r\n", ANY), Parsed::Error(ProtocolError::InvalidMultibulkLength));
    assert_eq!(parse_with(limits, b"*2\r\n$5\r\n", ANY), Parsed::Error(ProtocolError::InvalidBulkLength));
}

#[test]
fn a_client_that_owes_its_password_is_kept_short() {
    let owing = Limits { unauthenticated: true, ..Limits::default() };
    assert_eq!(parse_with(owing, b"*10\r\n$16384\r\n", ANY), Parsed::Incomplete);
    let count = Parsed::Error(ProtocolError::UnauthenticatedMultibulkLength);
    assert_eq!(parse_with(owing, b"*11\r\n", ANY), count);
    let length = Parsed::Error(ProtocolError::UnauthenticatedBulkLength);
    assert_eq!(parse_with(owing, b"*1\r\n$16385\r\n", ANY), length);
    assert_eq!(parse(b"*11\r\n$16385\r\n"), Parsed::Incomplete);
}

#[test]
fn lines_of_64_kib_are_the_longest() {
    let at_most = Limits::default().inline_bytes_max;
    for (head, error) in [(&b"*"[..], ProtocolError::TooBigMultibulkCount), (b"p", ProtocolError::TooBigInlineRequest)] {
        let mut line = head.to_vec();
        line.resize(at_most, b'1');
        assert_eq!(parse(&line), Parsed::Incomplete);
        line.push(b'1');
        assert_eq!(parse(&line), Parsed::Error(error));
    }
    let mut line = vec![b'p'; at_most];
    line.push(b'\n');
    assert_eq!(parse(&line), Parsed::Request { bytes: at_most + 1, inline: true });
    let mut line = b"*1\r\n$".to_vec();
    line.resize(4 + at_most, b'1');
    assert_eq!(parse(&line), Parsed::Incomplete);
    line.push(b'1');
    assert_eq!(parse(&line), Parsed::Error(ProtocolError::TooBigBulkCount));
}

#[test]
fn a_request_is_large_as_soon_as_its_head_says_so() {
    // Each of the 100 arguments measures six bytes at least.
    let limits = Limits::default();
    assert_eq!(parse_with(limits, b"*100\r\n", 606), Parsed::Incomplete);
    assert_eq!(parse_with(limits, b"*100\r\n", 605), Parsed::Large);
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n";
    assert_eq!(parse_with(limits, set, set.len() + 102), Parsed::Incomplete);
    assert_eq!(parse_with(limits, set, set.len() + 101), Parsed::Large);
}

#[test]
fn a_large_request_goes_on_with_a_larger_limit() {
    let input = b"*2\r\n$3\r\nGET\r\n$9\r\nkkkkkkkkk\r\n";
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    let mut parser = RequestParser::new(Limits::default());
    assert_eq!(parser.parse(input, &mut spans, &mut arena, input.len() - 1), Parsed::Large);
    assert_eq!(parser.parse(input, &mut spans, &mut arena, input.len() - 1), Parsed::Large);
    assert_eq!(Args::new(input, &spans).get(0), Some(&b"GET"[..]));
    let whole = Parsed::Request { bytes: input.len(), inline: false };
    assert_eq!(parser.parse(input, &mut spans, &mut arena, input.len()), whole);
    assert_eq!(spans.len(), 2);
}

#[test]
fn a_streamed_request_keeps_its_limits() {
    let head = b"*3\r\n$3\r\nSET\r\n$1000\r\n";
    let mut parser = RequestParser::new(Limits::default());
    assert_eq!(parser.parse(head, &mut Vec::new(), &mut Vec::new(), 100), Parsed::Large);
    assert_eq!(parser.parsed_bytes(), head.len());
    assert_eq!(parser.stream(&[b'x'; 1002]), Ok(Streamed { bytes: 1002, end: false }));
    assert_eq!(parser.stream(b"$999999999999\r\n"), Err(ProtocolError::InvalidBulkLength));
    assert_eq!(parser.stream(b"$1\r\n"), Err(ProtocolError::InvalidBulkLength));
}

#[test]
fn declared_sizes_are_not_allocated() {
    let mut spans = Vec::new();
    let mut parser = RequestParser::new(Limits::default());
    parser.parse(b"*1048576\r\n$536870912\r\n", &mut spans, &mut Vec::new(), ANY);
    assert_eq!(spans.capacity(), 0);
}
