//! The protocol as the simulation reads and writes it, apart from the code that it tests.

/// One reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    /// Keys and values in turn; a flat array in RESP2.
    Map(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    /// The first word of an error.
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => Some(text.split(' ').next().unwrap_or_default()),
            _ => None,
        }
    }

    pub fn bulk(text: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(text.as_ref().to_vec())
    }

    /// As the server writes it.
    pub fn write(&self, resp3: bool, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => line(out, '+', text),
            Reply::Error(text) => line(out, '-', text),
            Reply::Integer(number) => line(out, ':', &number.to_string()),
            Reply::Bulk(bytes) => {
                line(out, '$', &bytes.len().to_string());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Reply::Null => out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" }),
            Reply::Array(parts) | Reply::Map(parts) | Reply::Push(parts) => {
                let (kind, length) = match self {
                    Reply::Map(_) if resp3 => ('%', parts.len() / 2),
                    Reply::Push(_) if resp3 => ('>', parts.len()),
                    _ => ('*', parts.len()),
                };
                line(out, kind, &length.to_string());
                parts.iter().for_each(|part| part.write(resp3, out));
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: char, text: &str) {
    out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
}

/// The reply at the front and its length; `None` while its end has not come.
///
/// # Panics
/// The bytes are no reply.
pub fn reply(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (text, mut at) = (String::from_utf8_lossy(&bytes[1..end]).into_owned(), end + 2);
    let number = || text.parse::<i64>().unwrap_or_else(|_| panic!("no length: {text:?}"));
    let reply = match bytes[0] {
        b'+' => Reply::Simple(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Integer(number()),
        b'_' => Reply::Null,
        b'$' | b'*' if number() < 0 => Reply::Null,
        b'$' => {
            let length = number() as usize;
            let payload = bytes.get(at..at + length + 2)?;
            assert!(
                payload.ends_with(b"\r\n"),
                "a bulk string without its end: {:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
            );
            at += length + 2;
            Reply::Bulk(payload[..length].to_vec())
        }
        kind @ (b'*' | b'>' | b'~' | b'%') => {
            let count = number() as usize * if kind == b'%' { 2 } else { 1 };
            let mut parts = Vec::new();
            for _ in 0..count {
                let (part, length) = self::reply(&bytes[at..])?;
                at += length;
                parts.push(part);
            }
            match kind {
                b'>' => Reply::Push(parts),
                b'%' => Reply::Map(parts),
                _ => Reply::Array(parts),
            }
        }
        kind => panic!("no reply begins with {:?} in {:?}", kind as char, String::from_utf8_lossy(&bytes[..bytes.len().min(80)])),
    };
    Some((reply, at))
}

/// A request as clients send it.
pub fn request(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}

/// The words of the request at the front and its length; `None` while its end has not come.
pub fn words(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    if !head.starts_with('*') {
        return Some((head.split_whitespace().map(str::to_owned).collect(), end + 2));
    }
    let (count, mut at) = (head[1..].parse::<usize>().expect("a count"), end + 2);
    let mut words = Vec::new();
    for _ in 0..count {
        let (Reply::Bulk(word), length) = reply(&bytes[at..])? else { panic!("a request is made of bulk strings") };
        words.push(String::from_utf8_lossy(&word).into_owned());
        at += length;
    }
    Some((words, at))
}
