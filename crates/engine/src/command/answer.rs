//! Parses one server reply, RESP2 or RESP3, as a tree. RESP3 answers COMMAND with sets of maps, which the decoder of
//! redis-protocol refuses as unhashable.

/// How deep an answer may nest; COMMAND's is seven deep.
const DEPTH_MAX: usize = 16;

/// An answer as far as COMMAND needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer<'a> {
    /// Strings of any kind, booleans, doubles.
    Text(&'a [u8]),
    Error(&'a [u8]),
    Number(i64),
    Null,
    /// Arrays, sets, pushes; maps as names and values in turn.
    List(Vec<Answer<'a>>),
}

impl<'a> Answer<'a> {
    /// The frame that `bytes` are; `None` when they are not exactly one well-formed frame.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Answer<'a>> {
        let mut rest = bytes;
        let answer = one(&mut rest, DEPTH_MAX)?;
        rest.is_empty().then_some(answer)
    }

    pub(super) fn text(&self) -> Option<&'a [u8]> {
        match self {
            Answer::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Answer::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Answer<'a>]> {
        match self {
            Answer::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value behind `name` in a list of names and values in turn.
    pub(super) fn field(&self, name: &str) -> Option<&Answer<'a>> {
        let pairs = self.list()?.chunks_exact(2);
        let mut named = pairs.filter(|pair| pair[0].text() == Some(name.as_bytes()));
        named.next()?.get(1)
    }
}

fn one<'a>(rest: &mut &'a [u8], depth: usize) -> Option<Answer<'a>> {
    let (kind, line) = line(rest)?;
    match kind {
        b'+' | b',' | b'#' | b'(' => Some(Answer::Text(line)),
        b'-' => Some(Answer::Error(line)),
        b':' => decimal(line).map(Answer::Number),
        b'_' => Some(Answer::Null),
        b'$' | b'=' | b'!' => bulk(kind, line, rest),
        b'*' | b'~' | b'>' => list(line, 1, rest, depth),
        b'%' => list(line, 2, rest, depth),
        b'|' => {
            list(line, 2, rest, depth)?;
            one(rest, depth.checked_sub(1)?)
        }
        _ => None,
    }
}

fn bulk<'a>(kind: u8, length: &[u8], rest: &mut &'a [u8]) -> Option<Answer<'a>> {
    if length == b"-1" {
        return Some(Answer::Null);
    }
    let length = usize::try_from(decimal(length)?).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind.strip_prefix(b"\r\n")?;
    Some(if kind == b'!' { Answer::Error(text) } else { Answer::Text(text) })
}

fn list<'a>(count: &[u8], each: usize, rest: &mut &'a [u8], depth: usize) -> Option<Answer<'a>> {
    if count == b"-1" {
        return Some(Answer::Null);
    }
    let depth = depth.checked_sub(1)?;
    let count = usize::try_from(decimal(count)?).ok()?.checked_mul(each)?;
    // A declared count is no reason to allocate: the elements have to come, three bytes each at least.
    let mut elements = Vec::with_capacity(count.min(rest.len() / 3));
    for _ in 0..count {
        elements.push(one(rest, depth)?);
    }
    Some(Answer::List(elements))
}

/// The first byte and the rest of a line, both behind which `rest` then goes on.
fn line<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let end = memchr::memchr(b'\n', rest)?;
    let (line, behind) = rest.split_at(end + 1);
    let (kind, line) = line.strip_suffix(b"\r\n")?.split_first()?;
    *rest = behind;
    Some((*kind, line))
}

fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_read_alike() {
        let resp2 = Answer::read(b"*4\r\n$1\r\na\r\n:1\r\n+b\r\n*1\r\n$-1\r\n");
        let resp3 = Answer::read(b"%2\r\n+a\r\n:1\r\n=5\r\ntxt:b\r\n~1\r\n_\r\n");
        let resp2 = resp2.expect("well-formed");
        let resp3 = resp3.expect("well-formed");
        for answer in [&resp2, &resp3] {
            assert_eq!(answer.field("a").and_then(Answer::number), Some(1));
            assert_eq!(answer.field("c"), None);
        }
        assert_eq!(resp2.field("b"), Some(&Answer::List(vec![Answer::Null])));
        assert_eq!(resp3.list().map(<[_]>::len), Some(4));
    }

    #[test]
    fn an_attribute_is_passed_over() {
        assert_eq!(Answer::read(b"|1\r\n+a\r\n+b\r\n:7\r\n"), Some(Answer::Number(7)));
    }

    #[test]
    fn what_is_not_exactly_one_frame_is_refused() {
        for bytes in [
            b"".as_slice(),
            b"+OK",
            b"+OK\n",
            b"+OK\r\n+OK\r\n",
            b"*2\r\n+a\r\n",
            b"$3\r\nab\r\n",
            b"$2\r\nabc\r\n",
            b"$-2\r\n",
            b":x\r\n",
            b"?\r\n",
            b"\r\n",
            b"*9223372036854775807\r\n",
            b"%9223372036854775807\r\n",
            b"$?\r\n",
        ] {
            assert_eq!(Answer::read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(Answer::read(&nested(DEPTH_MAX)).is_some());
        assert!(Answer::read(&nested(DEPTH_MAX + 1)).is_none());
        assert!(Answer::read(&b"|0\r\n".repeat(100_000)).is_none());
    }
}
