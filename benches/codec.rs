//! Time and allocations per frame of the request parser and the reply scanner, beside redis-protocol's decoders.

mod cost;

use std::hint::black_box;

use bytes::BytesMut;
use cost::cost;
use criterion::{BatchSize, Criterion};
use redis_protocol::{resp2, resp3};
use respguard_resp::encode;
use respguard_resp::request::{Args, Limits, Parsed, RequestParser};
use respguard_resp::scan::{ReplyScanner, ScanLimits, elements};

/// Frames in one buffer, as a pipeline fills a read.
const FRAMES: usize = 64;

fn request() -> Vec<u8> {
    let mut out = Vec::new();
    encode::request(&mut out, &[b"SET", b"user:1000:name", b"a value of some thirty-two bytes"]);
    out
}

fn bulk() -> Vec<u8> {
    let mut out = Vec::new();
    encode::bulk(&mut out, &[b'v'; 64]);
    out
}

fn array() -> Vec<u8> {
    let mut out = Vec::new();
    encode::array_header(&mut out, 10);
    (0..10).for_each(|_| encode::bulk(&mut out, b"element-of-16-b!"));
    out
}

/// What `EXEC` answers to five writes, an error and a nested array.
fn exec() -> Vec<u8> {
    b"*6\r\n+OK\r\n:1\r\n:42\r\n$5\r\nhello\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
        .to_vec()
}

/// One way through a whole buffer of frames; returns how many there were.
type Pass = Box<dyn FnMut(&[u8]) -> usize>;

fn parse_requests() -> Pass {
    let mut parser = RequestParser::new(Limits::default());
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    Box::new(move |mut input| {
        let mut frames = 0;
        spans.clear();
        while let Parsed::Request { bytes, .. } = parser.parse(input, &mut spans, &mut arena, 1 << 20) {
            black_box(Args::new(input, &spans).get(0));
            input = &input[bytes..];
            frames += 1;
        }
        frames
    })
}

fn scan_replies() -> Pass {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    Box::new(move |mut input| {
        let mut frames = 0;
        while let Ok(scanned) = scanner.scan(input)
            && scanned.end
        {
            black_box(scanner.top());
            input = &input[scanned.bytes..];
            frames += 1;
        }
        frames
    })
}

fn scan_plain_replies() -> Pass {
    let scanner = ReplyScanner::new(ScanLimits::default());
    Box::new(move |input| black_box(scanner.scan_plain(input, u32::MAX)).frames as usize)
}

fn scan_and_slice_replies() -> Pass {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    Box::new(move |mut input| {
        let mut frames = 0;
        while let Ok(scanned) = scanner.scan(input)
            && scanned.end
        {
            black_box(elements(&input[..scanned.bytes]).map(<[u8]>::len).sum::<usize>());
            input = &input[scanned.bytes..];
            frames += 1;
        }
        frames
    })
}

fn decode_resp2(buffer: &mut BytesMut) -> usize {
    let mut frames = 0;
    while let Ok(Some((frame, _, _))) = resp2::decode::decode_bytes_mut(buffer) {
        black_box(frame);
        frames += 1;
    }
    frames
}

fn decode_resp3(buffer: &mut BytesMut) -> usize {
    let mut frames = 0;
    while let Ok(Some((frame, _, _))) = resp3::decode::complete::decode_bytes_mut(buffer) {
        black_box(frame);
        frames += 1;
    }
    frames
}

/// The frames measured, with our ways through them.
fn cases() -> Vec<(&'static str, Vec<u8>, Pass)> {
    vec![
        ("request SET key value", request(), parse_requests()),
        ("reply bulk 64 B", bulk(), scan_replies()),
        ("reply bulk 64 B, taken together", bulk(), scan_plain_replies()),
        ("reply array of 10", array(), scan_replies()),
        ("reply EXEC of 6", exec(), scan_replies()),
        ("reply EXEC of 6, sliced", exec(), scan_and_slice_replies()),
    ]
}

/// One table of one run: ratios are between ways measured side by side.
fn print_ratios() {
    println!("{:<32}{:>16}{:>18}{:>18}{:>20}", "per frame", "ours", "resp2 decoder", "resp3 decoder", "times slower");
    for (name, frame, mut pass) in cases() {
        let buffer = frame.repeat(FRAMES);
        let ours = cost(FRAMES, || (), |()| pass(black_box(&buffer)));
        let resp2 = cost(FRAMES, || BytesMut::from(&buffer[..]), |mut buffer| decode_resp2(&mut buffer));
        let resp3 = cost(FRAMES, || BytesMut::from(&buffer[..]), |mut buffer| decode_resp3(&mut buffer));
        let ratios = format!("{:.1} / {:.1}", resp2.time_ns / ours.time_ns, resp3.time_ns / ours.time_ns);
        println!("{name:<32}{:>16}{:>18}{:>18}{ratios:>20}", ours, resp2, resp3);
    }
}

fn main() {
    // Cargo says so when it benches; a test run only tries that everything works.
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios();
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, frame, mut pass) in cases() {
        let buffer = frame.repeat(FRAMES);
        let mut group = criterion.benchmark_group(format!("{FRAMES} x {name}"));
        group.throughput(criterion::Throughput::Elements(FRAMES as u64));
        group.bench_function("ours", |bencher| bencher.iter(|| pass(black_box(&buffer))));
        let copy = || BytesMut::from(&buffer[..]);
        group.bench_function("redis-protocol resp2", |bencher| {
            bencher.iter_batched(copy, |mut buffer| decode_resp2(&mut buffer), BatchSize::SmallInput);
        });
        group.bench_function("redis-protocol resp3", |bencher| {
            bencher.iter_batched(copy, |mut buffer| decode_resp3(&mut buffer), BatchSize::SmallInput);
        });
        group.finish();
    }
    criterion.final_summary();
}
