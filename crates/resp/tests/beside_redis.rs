//! The request parser beside a real Redis: the same bytes, the same requests, the same refusals.

#[path = "../../../tests/it/harness/program.rs"]
#[expect(dead_code, reason = "the integration tests use all of it, these only a part")]
mod program;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use program::Program;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use respguard_resp::request::{Args, Limits, Parsed, RequestParser};
use respguard_resp::scan::{ReplyScanner, ScanLimits};

const DEADLINE: Duration = Duration::from_secs(10);

/// A Redis of this test's own, gone with it. It listens on a socket in its own directory only.
struct Redis {
    process: Child,
    directory: tempfile::TempDir,
}

impl Redis {
    fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let process = Command::new(&Program::under_test().path)
            .args(["--port", "0", "--unixsocket", "socket"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(directory.path())
            .args(options)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("it has told its version");
        let redis = Self { process, directory };
        let started = Instant::now();
        while redis.connect().is_err() {
            assert!(started.elapsed() < DEADLINE, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.directory.path().join("socket"))
    }

    /// All that Redis answers to these bytes and the end of the stream behind them.
    fn answer(&self, input: &[u8]) -> Vec<u8> {
        let stream = self.send(input);
        stream.shutdown(Shutdown::Write).ok();
        read_to_end(stream)
    }

    fn send(&self, input: &[u8]) -> UnixStream {
        let mut stream = self.connect().expect("redis-server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("the timeout is not zero");
        stream.write_all(input).expect("the input fits the socket's buffer");
        stream
    }
}

fn read_to_end(mut stream: UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // Redis resets a connection that it closes with bytes unread; its answer has come before that.
    stream.read_to_end(&mut answer).ok();
    answer
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What Redis must answer if it reads the input as the parser does: to each request, whose commands none of
/// the inputs makes ones that exist, the complaint about its name and arguments; to an error its text.
fn expected(mut limits: Limits, mut input: &[u8]) -> Vec<u8> {
    // Redis 7 has no limit of its own on the number of arguments.
    limits.arguments_max = i32::MAX as u32;
    let mut parser = RequestParser::new(limits);
    let mut answer = Vec::new();
    loop {
        let (mut spans, mut arena) = (Vec::new(), Vec::new());
        match parser.parse(input, &mut spans, &mut arena, usize::MAX) {
            Parsed::Request { bytes, inline } => {
                let args = Args::new(if inline { &arena } else { input }, &spans);
                complain(args, &mut answer);
                input = &input[bytes..];
            }
            Parsed::Nothing { bytes } => input = &input[bytes..],
            Parsed::Incomplete => return answer,
            Parsed::Error(error) => {
                error.reply(&mut answer);
                return answer;
            }
            // More arguments than spans can point to.
            Parsed::Large => {
                let parsed = parser.parsed_bytes();
                if let Err(error) = parser.stream(&input[parsed..]) {
                    error.reply(&mut answer);
                }
                return answer;
            }
        }
    }
}

/// Redis' complaint about an unknown command: C strings of at most 128 bytes, line breaks made spaces.
fn complain(args: Args<'_>, answer: &mut Vec<u8>) {
    let text = |arg: &[u8], most: usize| {
        let arg = arg.split(|&byte| byte == 0).next().unwrap_or_default();
        arg[..arg.len().min(most)].to_vec()
    };
    let mut list = Vec::new();
    for arg in args.from(1).iter() {
        if list.len() >= 128 {
            break;
        }
        let most = 128 - list.len();
        list.push(b'\'');
        list.extend(text(arg, most));
        list.extend_from_slice(b"' ");
    }
    let name = text(args.get(0).expect("a request has a name"), 128);
    let complaint = [b"ERR unknown command '", &name[..], b"', with args beginning with: ", &list].concat();
    answer.push(b'-');
    answer.extend(complaint.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    answer.extend_from_slice(b"\r\n");
}

fn shown(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=2000 => bytes.escape_ascii().to_string(),
        long => format!("{}.. ({long} bytes)", bytes[..100].escape_ascii()),
    }
}

fn assert_same(redis: &Redis, limits: Limits, input: &[u8]) {
    let (ours, theirs) = (expected(limits, input), redis.answer(input));
    assert_eq!(shown(&ours), shown(&theirs), "to {:?}", shown(input));
}

/// Requests of commands that do not exist, well-formed and odd.
const INPUTS: &[&[u8]] = &[
    b"*1\r\n$4\r\nzfoo\r\n",
    b"*2\r\n$4\r\nzfoo\r\n$1\r\na\r\n",
    b"*3\r\n$4\r\nzfoo\r\n$0\r\n\r\n$3\r\na b\r\n*1\r\n$4\r\nzbar\r\n",
    b"*1\rX$4\rXzfooab*1\r\n$4\r\nzbar\r\n",
    b"*1\r\n$4\r\nzfooXXzbar\r\n",
    b"*2\r\n$4\r\nzf\0o\r\n$3\r\na\nb\r\n",
    b"*0\r\nzfoo\r\n",
    b"*-1\r\nzfoo\r\n",
    b"*-9\r\nzfoo\r\n",
    b"*-0\r\nzfoo\r\n",
    b"*+1\r\n",
    b"* 1\r\n",
    b"*1 \r\n",
    b"*01\r\n",
    b"*00\r\n",
    b"*\r\n",
    b"*-\r\n",
    b"*--1\r\n",
    b"*a\r\n",
    b"*1a\r\n",
    b"*1\n\r\n",
    b"**1\r\n",
    b"*1.0\r\n",
    b"*0x1\r\n",
    b"*1048577\r\n",
    b"*2147483647\r\n",
    b"*2147483648\r\n",
    b"*9223372036854775807\r\n",
    b"*9223372036854775808\r\n",
    b"*-9223372036854775808\r\nzfoo\r\n",
    b"*-9223372036854775809\r\n",
    b"*18446744073709551617\r\n",
    b"*\0\r\n",
    b"*1\0\r\n$4\r\nzfoo\r\n",
    b"*1\n$4\nzfoo\n",
    b"*1",
    b"*1\r",
    b"*x\r",
    b"*x",
    b"*1\r\n$",
    b"*1\r\n$4\r",
    b"*1\r\nx",
    b"*1\r\nx\r",
    b"*1\r\n$4\r\nzfoo",
    b"*1\r\n$4\r\nzfoo\r",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$-2\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$ 4\r\nzfoo\r\n",
    b"*1\r\n$04\r\nzfoo\r\n",
    b"*1\r\n$+4\r\nzfoo\r\n",
    b"*1\r\n$4a\r\nzfoo\r\n",
    b"*1\r\n$4\n\r\nzfoo\r\n",
    b"*1\r\n$0\r\n\r\nzfoo\r\n",
    b"*1\r\n$-0\r\n",
    b"*1\r\n$536870912\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$9223372036854775807\r\n",
    b"*1\r\n$9223372036854775808\r\n",
    b"*1\r\n$99999999999999999999999\r\n",
    b"*1\r\n$4\0\r\nzfoo\r\n",
    b"*1\r\n:4\r\nzfoo\r\n",
    b"*1\r\n*1\r\n$4\r\nzfoo\r\n",
    b"*1\r\n4\r\nzfoo\r\n",
    b"*1\r\n\r\n$4\r\nzfoo\r\n",
    b"*1\r\n\n\r\n",
    b"*1\r\n\x80\r\n",
    b"*1\r\n\xff4\r\n",
    b"*1\r\n\0\r\nzfoo\r\n",
    b"*2\r\n$4\r\nzfoo\r\nzbar\r\n",
    b"*2\r\n$4\r\nzfoo\r\n\r\n",
    b"*1\r\n'4\r\n",
    b"$4\r\nzfoo\r\n",
    b"+zfoo\r\n",
    b"zfoo\n",
    b"zfoo\r\n",
    b"zfoo",
    b"zfoo\r",
    b"\r\n",
    b"\n",
    b"\n\nzfoo\n",
    b"\r\r\n",
    b"\rzfoo\n",
    b"zfoo\r\r\n",
    b"  zfoo  a  b  \r\n",
    b"\tzfoo\ta\r\n",
    b"\x0bzfoo\x0ba\x0cb \x0cc\r\n",
    b"zfoo\ra\r\n",
    b"zfoo \"\" ''\r\n",
    b"zfoo \"a b\" 'c d'\r\n",
    b"zfoo \"a\r\n",
    b"zfoo 'a\r\n",
    b"zfoo \"a\"b\r\n",
    b"zfoo 'a'b\r\n",
    b"zfoo a\"b c\"\r\n",
    b"zfoo a'b c'\r\n",
    b"zfoo \"a\"\"b\"\r\n",
    b"zfoo \"a\"\x0bb\r\n",
    b"zfoo \"\\x41\\x4a\\xzz\\x4\"\r\n",
    b"zfoo \"\\x00b\"\r\n",
    b"zfoo \"\\n\\r\\t\\b\\a\\q\\\\\\\"\"\r\n",
    b"zfoo '\\'\\n\\\\ '\r\n",
    b"zfoo '\\\\'\r\n",
    b"zfoo \"\\\r\n",
    b"zfoo '\\\r\n",
    b"zfoo \\x41 \\\" \r\n",
    b"\"zfoo\" a\r\n",
    b"'z foo'\r\n",
    b"\"\"\r\n",
    b"\"\" zfoo\r\n",
    b"z\0foo\r\nzbar\r\n",
    b"\0\r\nzbar\r\n",
    b"zfoo \xff\xfe\x80\r\n",
    b" *1\r\n$4\r\nzfoo\r\n",
    b"\r\n*1\r\n$4\r\nzfoo\r\n",
    b"zfoo\n*1\r\n$4\r\nzbar\r\n\r\n*0\r\nzbaz\n",
];

#[test]
fn odd_requests_are_read_as_redis_reads_them() {
    let redis = Redis::start(&[]);
    for input in INPUTS {
        assert_same(&redis, Limits::default(), input);
    }
}

#[test]
fn mutilated_requests_are_read_as_redis_reads_them() {
    let redis = Redis::start(&[]);
    let seeds = proptest::sample::select(INPUTS);
    let patch = proptest::sample::select(&b"*$\r\n\0 019-'\"\\xz\x0b\xff"[..]);
    let edit = (any::<prop::sample::Index>(), 0..3u8, patch);
    let inputs = (proptest::collection::vec(seeds, 1..4), proptest::collection::vec(edit, 1..4));
    // A failing run prints its input; the cases of one run are random.
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&inputs, |(seeds, edits)| {
        let mut input = seeds.concat();
        for (place, edit, byte) in edits {
            let at = place.index(input.len());
            match edit {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                _ if input.len() > 1 => drop(input.remove(at)),
                _ => {}
            }
        }
        let (ours, theirs) = (expected(Limits::default(), &input), redis.answer(&input));
        prop_assert_eq!(shown(&ours), shown(&theirs), "to {:?}", shown(&input));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn lines_too_long_are_refused_as_redis_refuses_them() {
    let redis = Redis::start(&[]);
    let most = Limits::default().inline_bytes_max;
    for (head, fill) in [(&b"*"[..], b'1'), (b"*1\r\n$", b'1'), (b"z", b'z'), (b"*x\0", b'1'), (b"z\0", b'z')] {
        let line_start = head.len() - head.iter().rev().take_while(|&&byte| byte != b'\n').count();
        for bytes in [most, most + 1] {
            let mut input = head.to_vec();
            input.resize(line_start + bytes, fill);
            assert_same(&redis, Limits::default(), &input);
        }
    }
    let mut longest = vec![b'z'; most];
    longest.push(b'\n');
    assert_same(&redis, Limits::default(), &longest);
}

#[test]
fn a_client_that_owes_its_password_meets_the_limits_of_redis() {
    let redis = Redis::start(&["--requirepass", "secret"]);
    let limits = Limits { unauthenticated: true, ..Limits::default() };
    let inputs: &[&[u8]] = &[
        b"*10\r\n",
        b"*11\r\n",
        b"*2147483648\r\n",
        b"*1\r\n$16384\r\n",
        b"*1\r\n$16385\r\n",
        b"*1\r\n$536870913\r\n",
        b"zfoo 1 2 3 4 5 6 7 8 9 10 11 12\r\n",
    ];
    for input in inputs {
        assert_same(&redis, limits, input);
    }
}

#[test]
fn replies_of_a_real_redis_end_where_it_ends_them() {
    let redis = Redis::start(&["--enable-debug-command", "yes"]);
    for version in ["2", "3"] {
        let commands = [
            "PING",
            "SET k v",
            "GET k",
            "GET none",
            "INCR k",
            "HSET h a 1 b 2",
            "HGETALL h",
            "ZADD z 1.5 a",
            "ZSCORE z a",
            "SADD s a b",
            "SMEMBERS s",
            "COMMAND",
            "COMMAND DOCS",
            "INFO",
            "CLIENT LIST",
            "DEBUG PROTOCOL attrib",
            "DEBUG PROTOCOL push",
            "DEBUG PROTOCOL bignum",
            "DEBUG PROTOCOL verbatim",
            "DEBUG PROTOCOL map",
            "DEBUG PROTOCOL null",
            "DEBUG PROTOCOL true",
            "SUBSCRIBE c",
            "QUIT",
        ];
        let input = format!("HELLO {version}\r\n{}\r\n", commands.join("\r\n"));
        let answer = read_to_end(redis.send(input.as_bytes()));
        let mut scanner = ReplyScanner::new(ScanLimits::default());
        let (mut rest, mut kinds) = (&answer[..], Vec::new());
        while !rest.is_empty() {
            let scanned = scanner.scan(rest).expect("Redis keeps to its protocol");
            assert!(scanned.end);
            kinds.push(char::from(scanner.top().kind));
            rest = &rest[scanned.bytes..];
        }
        // HELLO itself is answered too, and in RESP3 DEBUG PROTOCOL push with a push before its reply.
        let replies = commands.len() + 1 + usize::from(version == "3");
        assert_eq!(kinds.len(), replies, "{kinds:?}");
    }
}
