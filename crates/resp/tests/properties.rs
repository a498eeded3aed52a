//! Properties of the protocol layer over random well-formed, cut, limited and broken bytes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2;
use redis_protocol::resp3;
use redis_protocol::resp3::types::{BytesFrame, FrameMap, VerbatimStringFormat};
use respguard_resp::request::{Args, Limits, Parsed, ProtocolError, RequestParser, Span, Streamed};
use respguard_resp::scan::{ReplyScanner, ScanError, ScanLimits, Scanned, Top, elements};
use respguard_resp::{encode, value};

/// One request as a whole, and what a parser says of it when fed in given pieces.
struct Fed {
    parser: RequestParser,
    spans: Vec<Span>,
    arena: Vec<u8>,
}

impl Fed {
    fn new(limits: Limits) -> Self {
        Self { parser: RequestParser::new(limits), spans: Vec::new(), arena: Vec::new() }
    }

    fn parse(&mut self, input: &[u8], whole_bytes_max: usize) -> Parsed {
        self.parser.parse(input, &mut self.spans, &mut self.arena, whole_bytes_max)
    }

    fn arguments(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        Args::new(bytes, &self.spans).iter().map(<[u8]>::to_vec).collect()
    }
}

const ANY: usize = usize::MAX;

fn arguments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let argument = prop_oneof![
        9 => vec(any::<u8>(), 0..12),
        1 => vec(any::<u8>(), 90..130),
    ];
    vec(argument, 1..12)
}

fn request_bytes(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request(&mut out, &args.iter().map(Vec::as_slice).collect::<Vec<_>>());
    out
}

/// The same request as the codec of another hand writes it.
fn foreign_request_bytes(args: &[Vec<u8>]) -> Vec<u8> {
    let bulk = |arg: &Vec<u8>| resp2::types::BytesFrame::BulkString(Bytes::copy_from_slice(arg));
    let frame = resp2::types::BytesFrame::Array(args.iter().map(bulk).collect());
    let mut out = BytesMut::new();
    resp2::encode::extend_encode(&mut out, &frame, false).expect("the frame can be encoded");
    out.to_vec()
}

/// A frame of any type, by the types of another hand. Doubles are exact in binary, so that they compare.
fn foreign_frame() -> impl Strategy<Value = BytesFrame> {
    let line = || "[ -~]{0,12}".prop_map(Bytes::from);
    let blob = || vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let scalar = prop_oneof![
        blob().prop_map(|data| BytesFrame::BlobString { data, attributes: None }),
        blob().prop_map(|data| BytesFrame::BlobError { data, attributes: None }),
        line().prop_map(|data| BytesFrame::SimpleString { data, attributes: None }),
        "[ -~]{0,12}".prop_map(|text| BytesFrame::SimpleError { data: text.into(), attributes: None }),
        any::<bool>().prop_map(|data| BytesFrame::Boolean { data, attributes: None }),
        Just(BytesFrame::Null),
        any::<i64>().prop_map(|data| BytesFrame::Number { data, attributes: None }),
        any::<i32>().prop_map(|data| BytesFrame::Double { data: f64::from(data) / 8.0, attributes: None }),
        "-?[1-9][0-9]{0,40}".prop_map(|data| BytesFrame::BigNumber { data: data.into(), attributes: None }),
        blob().prop_map(|data| BytesFrame::VerbatimString { data, format: VerbatimStringFormat::Text, attributes: None }),
    ];
    let key = line().prop_map(|data| BytesFrame::SimpleString { data, attributes: None });
    scalar.prop_recursive(4, 40, 6, move |frame| {
        let pairs = vec((key.clone(), frame.clone()), 0..5);
        let map = pairs.prop_map(FrameMap::from_iter);
        prop_oneof![
            vec(frame.clone(), 0..6).prop_map(|data| BytesFrame::Array { data, attributes: None }),
            (vec(frame, 1..4), map.clone())
                .prop_map(|(data, attributes)| BytesFrame::Array { data, attributes: Some(attributes) }),
            map.prop_map(|data| BytesFrame::Map { data, attributes: None }),
            vec(key.clone(), 0..5).prop_map(|keys| BytesFrame::Set { data: keys.into_iter().collect(), attributes: None }),
        ]
    })
}

fn foreign_bytes(frame: &BytesFrame) -> Vec<u8> {
    let mut out = BytesMut::new();
    resp3::encode::complete::extend_encode(&mut out, frame, false).expect("the frame can be encoded");
    out.to_vec()
}

/// A frame of our own making with what its top must look like: wire bytes, and the elements' bytes.
#[derive(Clone, Debug)]
struct Wire {
    kind: u8,
    null: bool,
    bytes: Vec<u8>,
    elements: Vec<Vec<u8>>,
    element_kinds: Vec<u8>,
}

impl Wire {
    fn scalar(kind: u8, bytes: Vec<u8>) -> Self {
        let null = matches!(&bytes[..], b"_\r\n" | b"$-1\r\n" | b"*-1\r\n");
        Self { kind, null, bytes, elements: Vec::new(), element_kinds: Vec::new() }
    }

    fn aggregate(kind: u8, mut members: Vec<Wire>) -> Self {
        if kind == b'%' && members.len() % 2 == 1 {
            members.pop();
        }
        let declared = if kind == b'%' { members.len() / 2 } else { members.len() };
        let mut bytes = format!("{}{declared}\r\n", char::from(kind)).into_bytes();
        members.iter().for_each(|member| bytes.extend_from_slice(&member.bytes));
        let element_kinds = members.iter().map(|member| member.kind).collect();
        let elements = members.into_iter().map(|member| member.bytes).collect();
        Self { kind, null: false, bytes, elements, element_kinds }
    }

    /// The frame behind an attribute, or behind a push when it stands amid an aggregate.
    fn preceded(mut self, prefix: &[u8]) -> Self {
        self.bytes = [prefix, &self.bytes].concat();
        self
    }

    fn top(&self) -> Top {
        let is_error = |kind: &u8| matches!(kind, b'-' | b'!');
        Top {
            kind: self.kind,
            elements: self.elements.len() as u32,
            null: self.null,
            errors: self.element_kinds.iter().filter(|kind| is_error(kind)).count() as u32,
            first_error: self.element_kinds.iter().position(is_error).unwrap_or(0) as u32,
        }
    }
}

fn wire() -> impl Strategy<Value = Wire> {
    let fixed: &[(u8, &[u8])] = &[
        (b'$', b"$-1\r\n"),
        (b'*', b"*-1\r\n"),
        (b'_', b"_\r\n"),
        (b'#', b"#t\r\n"),
        (b'#', b"#f\r\n"),
        (b',', b",inf\r\n"),
        (b',', b",-1.25e+300\r\n"),
        (b'(', b"(-3492890328409238509324850943850943825024385\r\n"),
        (b'+', b"+OK\r\n"),
        (b'+', b"+QUEUED\r\n"),
        (b'-', b"-\r\n"),
        (b'-', b"-WRONGTYPE Operation against a key\r\n"),
        (b'=', b"=8\r\ntxt:\r\n\r\n\r\n"),
        (b'!', b"!5\r\nERR \n\r\n"),
    ];
    let fixed = proptest::sample::select(fixed).prop_map(|(kind, bytes)| Wire::scalar(kind, bytes.to_vec()));
    let number = any::<i64>().prop_map(|number| Wire::scalar(b':', format!(":{number}\r\n").into_bytes()));
    let blob = vec(any::<u8>(), 0..130).prop_map(|payload| {
        let mut bytes = Vec::new();
        encode::bulk(&mut bytes, &payload);
        Wire::scalar(b'$', bytes)
    });
    let leaf = prop_oneof![4 => fixed, 1 => number, 2 => blob];
    let nested = leaf.prop_recursive(4, 40, 6, |member| {
        let preceded = (member.clone(), any::<bool>()).prop_map(|(member, attribute)| {
            let prefix: &[u8] = if attribute { b"|1\r\n+a\r\n*1\r\n-E\r\n" } else { b">2\r\n+message\r\n-E\r\n" };
            member.preceded(prefix)
        });
        let kind = proptest::sample::select(&b"*%~"[..]);
        (kind, vec(prop_oneof![5 => member, 1 => preceded], 0..6)).prop_map(|(kind, members)| Wire::aggregate(kind, members))
    });
    (nested.clone(), vec(nested, 0..4), 0..8u8).prop_map(|(frame, members, shape)| match shape {
        0 => frame.preceded(b"|1\r\n+ttl\r\n:3600\r\n"),
        1 => Wire::aggregate(b'>', members),
        _ => frame,
    })
}

fn scan_whole(bytes: &[u8]) -> (Result<Scanned, ScanError>, Top) {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let scanned = scanner.scan(bytes);
    (scanned, scanner.top())
}

/// Scans piece by piece; the total of bytes taken and whether the frame ended, or the error.
fn scan_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Result<Scanned, ScanError>, Top) {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let mut total = Scanned { bytes: 0, end: false };
    for piece in pieces {
        match scanner.scan(piece) {
            Ok(scanned) => total = Scanned { bytes: total.bytes + scanned.bytes, end: scanned.end },
            Err(error) => return (Err(error), scanner.top()),
        }
        if total.end {
            break;
        }
    }
    (Ok(total), scanner.top())
}

/// What is taken together of `bytes` is whole frames, none of them an error or an aggregate.
fn is_prefix_of_plain_frames(bytes: &[u8], most: u32) -> Result<(), String> {
    let taken = ReplyScanner::new(ScanLimits::default()).scan_plain(bytes, most);
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let mut at = 0;
    for frame in 0..taken.frames {
        let scanned = scanner.scan(&bytes[at..]).map_err(|error| format!("frame {frame}: {error}"))?;
        let is_plain = scanned.end && b"$:+_".contains(&scanner.top().kind);
        if !is_plain {
            return Err(format!("frame {frame}: {scanned:?}, {:?}", scanner.top()));
        }
        at += scanned.bytes;
    }
    match (at == taken.bytes, taken.frames <= most) {
        (true, true) => Ok(()),
        _ => Err(format!("{taken:?}, but the frames take {at} bytes")),
    }
}

const SNIPPETS: &[&[u8]] = &[b"*1\r\n", b"*2\r\n", b"$1\r\n", b"$3\r\nabc\r\n", b"|1\r\n", b">1\r\n", b":1\r\n", b"PING\r\n"];

/// Bytes that look like the protocol often enough to get somewhere in it.
fn protocol_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        8 => proptest::sample::select(&b"*$+-:_,#!=(%~>|\r\n\r\n\r\n0123 \"'\\x\0atf"[..]).prop_map(|byte| vec![byte]),
        4 => Just(b"\r\n".to_vec()),
        2 => proptest::sample::select(SNIPPETS).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_the_same_whichever_way_it_is_cut(args in arguments(), behind in vec(any::<u8>(), 0..4)) {
        let bytes = request_bytes(&args);
        prop_assert_eq!(&bytes, &foreign_request_bytes(&args));
        let input = [&bytes[..], &behind].concat();
        let whole = Parsed::Request { bytes: bytes.len(), inline: false };
        for cut in 0..=bytes.len() {
            let mut fed = Fed::new(Limits::default());
            if cut < bytes.len() {
                prop_assert_eq!(fed.parse(&input[..cut], ANY), Parsed::Incomplete);
                prop_assert!(fed.parser.parsed_bytes() <= cut);
                prop_assert_eq!(fed.parser.is_between_requests(), cut == 0);
            }
            // What has been parsed is not looked at again: it may as well be gone.
            let mut rest = input.clone();
            rest[..fed.parser.parsed_bytes()].fill(0xff);
            prop_assert_eq!(fed.parse(&rest, ANY), whole);
            prop_assert_eq!(fed.arguments(&input), args.clone());
            prop_assert!(fed.parser.is_between_requests());
            prop_assert_eq!(fed.parser.parsed_bytes(), 0);
        }
    }

    #[test]
    fn a_request_that_trickles_in_is_the_same(args in arguments()) {
        let bytes = request_bytes(&args);
        let mut fed = Fed::new(Limits::default());
        for end in 1..bytes.len() {
            prop_assert_eq!(fed.parse(&bytes[..end], ANY), Parsed::Incomplete);
        }
        prop_assert_eq!(fed.parse(&bytes, ANY), Parsed::Request { bytes: bytes.len(), inline: false });
        prop_assert_eq!(fed.arguments(&bytes), args);
    }

    #[test]
    fn a_request_is_large_one_byte_above_the_limit_and_streams_to_its_end(args in arguments(), below in 1usize..400) {
        let bytes = request_bytes(&args);
        let mut fed = Fed::new(Limits::default());
        prop_assert_eq!(fed.parse(&bytes, bytes.len()), Parsed::Request { bytes: bytes.len(), inline: false });

        let limit = bytes.len() - below.min(bytes.len());
        let behind = [&bytes[..], b"*1\r\n"].concat();
        for cut in 0..=bytes.len() {
            let mut fed = Fed::new(Limits::default());
            if fed.parse(&bytes[..cut], limit) == Parsed::Incomplete {
                // The first line, `*11` at the longest, must be there before anything is declared.
                prop_assert!(cut <= limit.max(4));
                prop_assert_eq!(fed.parse(&bytes, limit), Parsed::Large);
            }
            let parsed = fed.parser.parsed_bytes();
            prop_assert!(parsed <= bytes.len());
            let middle = parsed + (bytes.len() - parsed) / 2;
            if middle < bytes.len() {
                let first = fed.parser.stream(&bytes[parsed..middle]);
                prop_assert_eq!(first, Ok(Streamed { bytes: middle - parsed, end: false }));
                prop_assert_eq!(fed.parse(&bytes, ANY), Parsed::Large);
            }
            let last = fed.parser.stream(&behind[middle..]);
            prop_assert_eq!(last, Ok(Streamed { bytes: bytes.len() - middle, end: true }));
            prop_assert!(fed.parser.is_between_requests());
        }
    }

    #[test]
    fn inline_requests_are_the_same_whichever_way_they_are_cut(line in "[ \ta-c\"'\\\\x0-9]{0,24}", feed in any::<bool>()) {
        let bytes = if feed { format!("{line}\n") } else { format!("{line}\r\n") }.into_bytes();
        let mut whole = Fed::new(Limits::default());
        // A star at the start would make it a multibulk request; the alphabet has none.
        let expected = whole.parse(&bytes, ANY);
        for cut in 0..bytes.len() {
            let mut fed = Fed::new(Limits::default());
            prop_assert_eq!(fed.parse(&bytes[..cut], ANY), Parsed::Incomplete);
            prop_assert_eq!(fed.parser.parsed_bytes(), cut);
            prop_assert_eq!(fed.parse(&bytes, ANY), expected);
            prop_assert_eq!(&fed.arena, &whole.arena);
            prop_assert_eq!(&fed.spans, &whole.spans);
        }
    }

    #[test]
    fn quoted_arguments_come_out_as_they_went_in(args in arguments()) {
        let quote = |arg: &Vec<u8>| {
            let digits: String = arg.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("\"{digits}\"")
        };
        let line = args.iter().map(quote).collect::<Vec<_>>().join(" ") + "\r\n";
        let mut fed = Fed::new(Limits::default());
        prop_assert_eq!(fed.parse(line.as_bytes(), ANY), Parsed::Request { bytes: line.len(), inline: true });
        prop_assert_eq!(fed.arguments(&fed.arena), args);
    }

    #[test]
    fn a_foreign_frame_ends_where_its_own_decoder_says(frame in foreign_frame(), behind in vec(any::<u8>(), 0..4)) {
        let bytes = foreign_bytes(&frame);
        let input = [&bytes[..], &behind].concat();
        let (_, used) = resp3::decode::complete::decode_bytes(&Bytes::copy_from_slice(&input))
            .expect("the frame is well-formed").expect("the frame is whole");
        let (scanned, top) = scan_whole(&input);
        prop_assert_eq!(scanned, Ok(Scanned { bytes: used, end: true }));
        for cut in 0..used {
            let pieces = [&input[..cut], &input[cut..]];
            prop_assert_eq!(scan_pieces(pieces.into_iter()), (scanned, top));
            prop_assert_eq!(scan_whole(&input[..cut]).0, Ok(Scanned { bytes: cut, end: false }));
        }
    }

    #[test]
    fn a_frame_of_ours_has_the_same_top_whichever_way_it_is_cut(wire in wire(), behind in vec(any::<u8>(), 0..4)) {
        let input = [&wire.bytes[..], &behind].concat();
        let expected = (Ok(Scanned { bytes: wire.bytes.len(), end: true }), wire.top());
        for cut in 0..wire.bytes.len() {
            let pieces = [&input[..cut], &input[cut..]];
            prop_assert_eq!(scan_pieces(pieces.into_iter()), expected);
        }
        prop_assert_eq!(scan_pieces(input.chunks(1)), expected);
        prop_assert_eq!(elements(&wire.bytes).collect::<Vec<_>>(), wire.elements.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(value::is_error(&wire.bytes), matches!(wire.kind, b'-' | b'!'));
        prop_assert_eq!(value::is_null(&wire.bytes), wire.null);
    }

    #[test]
    fn one_scanner_takes_many_frames_in_a_row(wires in vec(wire(), 1..6), piece in 1usize..40) {
        let stream = wires.iter().flat_map(|wire| wire.bytes.clone()).collect::<Vec<_>>();
        let mut scanner = ReplyScanner::new(ScanLimits::default());
        let mut tops = Vec::new();
        for mut bytes in stream.chunks(piece) {
            while !bytes.is_empty() {
                let scanned = scanner.scan(bytes).expect("the stream is well-formed");
                bytes = &bytes[scanned.bytes..];
                if scanned.end {
                    tops.push(scanner.top());
                }
            }
        }
        prop_assert_eq!(tops, wires.iter().map(Wire::top).collect::<Vec<_>>());
        prop_assert!(scanner.is_between_frames());
    }

    #[test]
    fn plain_frames_taken_together_are_those_taken_one_by_one(wires in vec(wire(), 0..8), cut in 0usize..400, most in 0u32..8) {
        let stream = wires.iter().flat_map(|wire| wire.bytes.clone()).collect::<Vec<_>>();
        let bytes = &stream[..stream.len().min(cut)];
        prop_assert_eq!(is_prefix_of_plain_frames(bytes, most), Ok(()));
    }

    #[test]
    fn integers_survive_the_way_out_and_in(number in any::<i64>()) {
        let mut frame = Vec::new();
        encode::integer(&mut frame, number);
        prop_assert_eq!(value::integer(&frame), Some(number));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_taken_together_that_would_not_be_taken_one_by_one(bytes in protocol_like()) {
        prop_assert_eq!(is_prefix_of_plain_frames(&bytes, 8), Ok(()));
    }

    #[test]
    fn whatever_comes_from_an_upstream_is_judged_alike_in_one_piece_and_in_many(bytes in protocol_like(), piece in 1usize..5) {
        let whole = scan_whole(&bytes);
        let pieces = scan_pieces(bytes.chunks(piece));
        prop_assert_eq!(whole.0, pieces.0);
        if whole.0.is_ok() {
            prop_assert_eq!(whole.1, pieces.1);
        }
        let _ = elements(&bytes).count();
        let _ = (value::is_error(&bytes), value::error_text(&bytes), value::integer(&bytes), value::bulk(&bytes));
    }

    #[test]
    fn whatever_comes_from_a_client_is_judged_alike_in_one_piece_and_in_many(bytes in protocol_like(), limit in 0usize..200) {
        let mut whole = Fed::new(Limits::default());
        let expected = whole.parse(&bytes, limit);
        let mut fed = Fed::new(Limits::default());
        let mut last = Parsed::Incomplete;
        for end in 0..=bytes.len() {
            last = fed.parse(&bytes[..end], limit);
            if last != Parsed::Incomplete {
                break;
            }
        }
        prop_assert_eq!(last, expected);
        prop_assert_eq!(&fed.spans, &whole.spans);
        prop_assert_eq!(&fed.arena, &whole.arena);
        if expected == Parsed::Large {
            let parsed = whole.parser.parsed_bytes();
            let all = whole.parser.stream(&bytes[parsed..]);
            let each = stream_pieces(&mut fed.parser, &bytes[parsed..]);
            prop_assert_eq!(all, each);
        }
    }

    #[test]
    fn nothing_panics_at_random_bytes(bytes in vec(any::<u8>(), 0..300), limit in any::<usize>()) {
        let _ = Fed::new(Limits::default()).parse(&bytes, limit);
        let _ = scan_whole(&bytes);
        let _ = elements(&bytes).count();
    }
}

fn stream_pieces(parser: &mut RequestParser, bytes: &[u8]) -> Result<Streamed, ProtocolError> {
    let mut total = Streamed { bytes: 0, end: false };
    for piece in bytes.chunks(1) {
        let streamed = parser.stream(piece)?;
        total = Streamed { bytes: total.bytes + streamed.bytes, end: streamed.end };
        if total.end {
            break;
        }
    }
    Ok(total)
}
