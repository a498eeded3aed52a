//! What a client sends again and again, with what Redis answers to it.

use crate::http;

const VALUE: [u8; 64] = [b'v'; 64];
const BULK_VALUE: [u8; 1000] = [b'v'; 1000];
/// What Redis answers to the members of a group from the second time on.
const MEMBER_REPLIES: &[u8] = b"+OK\r\n:0\r\n:0\r\n:1\r\n";

/// One batch.
#[derive(Default)]
pub struct Job {
    pub requests: Vec<u8>,
    /// Over HTTP, the body of the answer.
    pub replies: Vec<u8>,
    pub is_http: bool,
    /// What is counted: requests, or groups.
    pub units: usize,
}

impl Job {
    /// By its name and number, as in `get:16`.
    pub fn named(word: &str) -> Job {
        let (name, count) = word.split_once(':').expect("a name and a number");
        let units = count.parse().expect("how often");
        let mut job = Job { units, ..Job::default() };
        match name {
            "rest" => return job.of_rest(),
            "webdis" => return job.of_webdis(),
            _ => {}
        }
        for _ in 0..units {
            match name {
                "get" => job.push_get(),
                "json" => return Job::json(units),
                "groups" => job.push_group(),
                "transactions" => job.push_transaction(),
                _ => panic!("no such job: {name}"),
            }
        }
        job
    }

    /// SETs of about so many bytes together.
    pub fn bulk(bytes: usize) -> Job {
        let mut job = Job::default();
        while job.requests.len() < bytes {
            job.request(&[b"SET", b"bulk", &BULK_VALUE]);
            job.replies.extend_from_slice(b"+OK\r\n");
            job.units += 1;
        }
        job
    }

    /// A SET and a GET of so many KB of JSON, which together count as one.
    pub fn json(kilobytes: usize) -> Job {
        let (mut job, value) = (Job { units: 1, ..Job::default() }, json(kilobytes * 1000));
        job.request(&[b"SET", b"page:bench", &value]);
        job.request(&[b"GET", b"page:bench"]);
        job.replies = [format!("+OK\r\n${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
        job
    }

    fn push_get(&mut self) {
        self.request(&[b"GET", b"key"]);
        self.replies.extend_from_slice(b"$64\r\n");
        self.replies.extend_from_slice(&VALUE);
        self.replies.extend_from_slice(b"\r\n");
    }

    /// One command, or a pipeline of several, by Upstash's protocol.
    fn of_rest(mut self) -> Job {
        let value = str::from_utf8(&VALUE).expect("text");
        let (path, one) = (if self.units == 1 { "/" } else { "/pipeline" }, format!("{{\"result\":\"{value}\"}}"));
        let (body, answer) = match self.units {
            1 => (r#"["GET","key"]"#.to_owned(), one),
            units => (format!("[{}]", vec![r#"["GET","key"]"#; units].join(",")), format!("[{}]", vec![one; units].join(","))),
        };
        (self.requests, self.replies, self.is_http) = (http::post(path, &body), answer.into_bytes(), true);
        self
    }

    /// One command by Webdis' protocol, which has no pipelines.
    fn of_webdis(mut self) -> Job {
        assert_eq!(self.units, 1, "Webdis has no pipelines");
        let value = str::from_utf8(&VALUE).expect("text");
        (self.requests, self.is_http) = (http::get("/GET/key"), true);
        self.replies = format!("{{\"GET\":\"{value}\"}}").into_bytes();
        self
    }

    fn push_group(&mut self) {
        self.push_members();
        self.replies.extend_from_slice(MEMBER_REPLIES);
    }

    /// The same in a MULTI of the client's own.
    fn push_transaction(&mut self) {
        self.request(&[b"MULTI"]);
        self.push_members();
        self.request(&[b"EXEC"]);
        self.replies.extend_from_slice(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n");
        self.replies.extend_from_slice(MEMBER_REPLIES);
    }

    fn push_members(&mut self) {
        self.request(&[b"SET", b"order:1000", &VALUE]);
        self.request(&[b"HSET", b"order-info:1000", b"state", b"paid"]);
        self.request(&[b"SADD", b"orders", b"1000"]);
        self.request(&[b"EXPIRE", b"order-info:1000", b"600"]);
    }

    fn request(&mut self, words: &[&[u8]]) {
        self.requests.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.requests.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.requests.extend_from_slice(word);
            self.requests.extend_from_slice(b"\r\n");
        }
    }
}

/// JSON with numbers and words in no order; `scripts/speed/compression.py` makes the same.
fn json(bytes: usize) -> Vec<u8> {
    let (mut out, mut state) = (b"[".to_vec(), 1u64);
    while out.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = state >> 33;
        let word = ["paid", "open", "sent", "void"][(number % 4) as usize];
        let item = format!(
            "{{\"id\":{},\"user\":\"u{:06x}\",\"state\":\"{word}\",\"price\":{}.{:02},\"tags\":[\"new\",\"sale\"]}},",
            number % 1_000_000,
            number % 0xff_ffff,
            number % 997,
            number % 100
        );
        out.extend_from_slice(item.as_bytes());
    }
    out.truncate(bytes);
    out
}
