//! In which respect two replies are compared where no two servers, or no two moments, answer with the same bytes.

use respguard_resp::scan::elements;
use respguard_resp::value;

/// How the replies to one command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Byte for byte.
    Bytes,
    /// Byte for byte, but that digits, and with them lengths, are not compared.
    Digits,
    /// The same lines in any order: the server keeps them in tables whose order is random from process to process.
    Lines,
    /// The same lines in any order, digits apart.
    DigitLines,
    /// The same fields, of whatever value.
    Fields,
    /// The same types, of whatever value.
    Shape,
    /// The same type alone.
    Kind,
    /// The same type alone, for the proxy's answer is its own: docs/transparency.md says why.
    Own,
}

/// Commands whose replies are not compared byte for byte, and why.
pub const EXCEPTIONS: &[(&str, Likeness, &str)] = &[
    ("acl cat", Likeness::Lines, "order of a table"),
    ("acl genpass", Likeness::Shape, "random"),
    ("acl list", Likeness::Lines, "order of a table"),
    ("acl log", Likeness::Kind, "one line for each connection"),
    ("client id", Likeness::Own, "the proxy's clients"),
    ("client info", Likeness::Own, "the proxy's clients"),
    ("client list", Likeness::Own, "the proxy's clients"),
    ("command", Likeness::Lines, "order of a table"),
    ("command docs", Likeness::Lines, "order of a table"),
    ("command info", Likeness::Lines, "order of a table"),
    ("command list", Likeness::Lines, "order of a table"),
    ("config get", Likeness::DigitLines, "order of a table; ports"),
    ("debug object", Likeness::Kind, "addresses"),
    ("expiretime", Likeness::Digits, "time"),
    ("hello", Likeness::Digits, "the client's id"),
    ("hrandfield", Likeness::Shape, "random"),
    ("info", Likeness::Fields, "times, ids, memory, counters"),
    ("keys", Likeness::Lines, "order of a table"),
    ("lastsave", Likeness::Shape, "time"),
    ("latency histogram", Likeness::Kind, "times"),
    ("lolwut version", Likeness::Kind, "random"),
    ("memory malloc-stats", Likeness::Kind, "memory"),
    ("memory stats", Likeness::Digits, "memory"),
    ("object idletime", Likeness::Digits, "time"),
    ("pexpiretime", Likeness::Digits, "time"),
    ("pttl", Likeness::Digits, "time"),
    ("randomkey", Likeness::Shape, "random"),
    ("scan", Likeness::Kind, "order of a table"),
    ("slowlog get", Likeness::Kind, "times and addresses"),
    ("slowlog len", Likeness::Digits, "depends on times"),
    ("spop", Likeness::Shape, "random"),
    ("srandmember", Likeness::Shape, "random"),
    ("time", Likeness::Shape, "time"),
    ("ttl", Likeness::Digits, "time"),
    ("xadd", Likeness::Digits, "ids from the time"),
    ("xinfo consumers", Likeness::Digits, "time"),
    ("xinfo stream", Likeness::Digits, "time"),
    ("xpending", Likeness::Digits, "time"),
    ("zrandmember", Likeness::Shape, "random"),
];

/// The same on servers of one make alone, by the beginning of their name in scripts/install-servers.
const ON_SOME: &[(&str, &str, Likeness, &str)] = &[
    ("redis8", "lolwut", Likeness::Kind, "random"),
    ("redis8", "memory stats", Likeness::Shape, "memory: what is lost by fragments may be less than nothing"),
    ("valkey", "lolwut", Likeness::Kind, "random"),
    ("valkey", "memory stats", Likeness::Shape, "memory: what is lost by fragments may be less than nothing"),
    ("valkey", "memory usage", Likeness::Digits, "memory: it differs from twin to twin"),
];

impl Likeness {
    /// In the words of docs/transparency.md.
    pub fn as_str(self) -> &'static str {
        match self {
            Likeness::Bytes => "byte for byte",
            Likeness::Digits => "byte for byte, digits apart",
            Likeness::Lines => "the same lines in any order",
            Likeness::DigitLines => "the same lines in any order, digits apart",
            Likeness::Fields => "the same fields",
            Likeness::Shape => "the same types",
            Likeness::Kind => "the same type",
            Likeness::Own => "the same type: see above",
        }
    }

    /// How replies to these words are compared.
    pub fn of(words: &[&[u8]]) -> Likeness {
        let word = |at: usize| words.get(at).map(|word| String::from_utf8_lossy(word).to_lowercase()).unwrap_or_default();
        let (name, both) = (word(0), format!("{} {}", word(0), word(1)));
        let find = |name: &str| EXCEPTIONS.iter().find(|row| row.0 == name);
        let server = std::env::var("SERVER").unwrap_or_default();
        let on_this = ON_SOME.iter().find(|row| server.starts_with(row.0) && (row.1 == name || row.1 == both));
        if let Some(row) = on_this {
            return row.2;
        }
        find(&both).or_else(|| find(&name)).map_or(Likeness::Bytes, |row| row.1)
    }

    /// What is compared of a reply. Errors are always compared byte for byte.
    pub fn view(self, reply: &[u8]) -> Vec<u8> {
        if value::is_error(reply) {
            return reply.to_vec();
        }
        match self {
            Likeness::Bytes => reply.to_vec(),
            Likeness::Digits => without_digits(reply),
            Likeness::Lines => sorted_lines(reply),
            Likeness::DigitLines => sorted_lines(&without_digits(reply)),
            Likeness::Fields => fields(reply),
            Likeness::Shape => shape(reply),
            Likeness::Kind | Likeness::Own => reply[..1].to_vec(),
        }
    }
}

fn without_digits(reply: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(reply.len());
    for &byte in reply {
        match byte {
            b'0'..=b'9' | b'.' if out.last() == Some(&b'0') => {}
            b'0'..=b'9' => out.push(b'0'),
            byte => out.push(byte),
        }
    }
    out
}

fn sorted_lines(reply: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = reply.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.join(&b'\n')
}

fn fields(reply: &[u8]) -> Vec<u8> {
    let lines = reply.split(|byte| *byte == b'\n').skip(1);
    lines.flat_map(|line| line.split(|byte| *byte == b':').next().unwrap_or_default().iter().copied().chain([b'\n'])).collect()
}

fn shape(reply: &[u8]) -> Vec<u8> {
    let mut out = vec![if value::is_null(reply) { b'0' } else { reply[0] }];
    out.extend(elements(reply).flat_map(shape));
    out
}
