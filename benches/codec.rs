//! Time and allocations per frame of the request parser and the reply scanner, beside redis-protocol's decoders.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{BatchSize, Criterion};
use redis_protocol::{resp2, resp3};
use respguard::engine::resp::encode;
use respguard::engine::resp::request::{Args, Limits, Parsed, RequestParser};
use respguard::engine::resp::scan::{ReplyScanner, ScanLimits, elements};

/// The system's allocator, counting what one thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

/// The least nanoseconds and the allocations per frame, over so many passes of `measured` behind `prepare`.
fn cost<T>(mut prepare: impl FnMut() -> T, mut measured: impl FnMut(T) -> usize) -> (f64, f64) {
    let (mut best, mut allocations) = (Duration::MAX, 0);
    for _ in 0..20_000 {
        let input = prepare();
        let before = ALLOCATIONS.get();
        let start = Instant::now();
        let frames = measured(input);
        best = best.min(start.elapsed());
        allocations = ALLOCATIONS.get() - before;
        assert_eq!(frames, FRAMES, "every frame of the buffer is read");
    }
    (best.as_nanos() as f64 / FRAMES as f64, allocations as f64 / FRAMES as f64)
}

/// The frames measured, with our ways through them.
fn cases() -> Vec<(&'static str, Vec<u8>, Pass)> {
    vec![
        ("request SET key value", request(), parse_requests()),
        ("reply bulk 64 B", bulk(), scan_replies()),
        ("reply array of 10", array(), scan_replies()),
        ("reply EXEC of 6", exec(), scan_replies()),
        ("reply EXEC of 6, sliced", exec(), scan_and_slice_replies()),
    ]
}

/// One table of one run: ratios are between ways measured side by side.
fn print_ratios() {
    println!("{:<26}{:>16}{:>18}{:>18}{:>20}", "per frame", "ours", "resp2 decoder", "resp3 decoder", "times slower");
    for (name, frame, mut pass) in cases() {
        let buffer = frame.repeat(FRAMES);
        let ours = cost(|| (), |()| pass(black_box(&buffer)));
        let resp2 = cost(|| BytesMut::from(&buffer[..]), |mut buffer| decode_resp2(&mut buffer));
        let resp3 = cost(|| BytesMut::from(&buffer[..]), |mut buffer| decode_resp3(&mut buffer));
        let shown = |(time, allocations): (f64, f64)| format!("{time:.1} ns {allocations:.1} a");
        let ratios = format!("{:.1} / {:.1}", resp2.0 / ours.0, resp3.0 / ours.0);
        println!("{name:<26}{:>16}{:>18}{:>18}{ratios:>20}", shown(ours), shown(resp2), shown(resp3));
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
