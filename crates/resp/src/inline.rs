//! Splits an inline request into arguments by the quoting rules of Redis.

use super::args::Span;

/// Appends the arguments of `line` to `arena` and their places to `spans`; `None` if quotes do not match.
///
/// As in `redis-cli`: `"double"` quotes know the escapes `\n \r \t \b \a \xHH`, `'single'` quotes only
/// `\'`, and a closing quote must be followed by a blank or the end. On `None` nothing is appended.
/// See <https://redis.io/docs/latest/develop/reference/protocol-spec/#inline-commands>.
pub(super) fn split(line: &[u8], spans: &mut Vec<Span>, arena: &mut Vec<u8>) -> Option<()> {
    let (spans_before, arena_before) = (spans.len(), arena.len());
    let mut rest = skip_blanks(line);
    while !rest.is_empty() {
        let start = arena.len() as u32;
        let Some(behind) = argument(rest, arena) else {
            spans.truncate(spans_before);
            arena.truncate(arena_before);
            return None;
        };
        spans.push(Span { start, end: arena.len() as u32 });
        rest = skip_blanks(behind);
    }
    Some(())
}

/// Decodes the argument that `rest` starts with; what is behind it, or `None` if its quotes do not match.
fn argument<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            // Vertical tab and form feed are blanks before an argument and behind a quote, but do not end a bare word.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(rest),
            [b'"', quoted @ ..] => return closed(double_quoted(quoted, arena)?),
            [b'\'', quoted @ ..] => return closed(single_quoted(quoted, arena)?),
            [byte, behind @ ..] => {
                arena.push(*byte);
                rest = behind;
            }
        }
    }
}

/// What is behind a closing quote, if that may stand there.
fn closed(behind: &[u8]) -> Option<&[u8]> {
    behind.first().is_none_or(|&byte| is_blank(byte)).then_some(behind)
}

fn double_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match rest {
            [] => return None,
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', b'x', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), behind)
            }
            [b'\\', escaped, behind @ ..] => (unescaped(*escaped), behind),
            [byte, behind @ ..] => (*byte, behind),
        };
        arena.push(byte);
        rest = behind;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match rest {
            [] => return None,
            [b'\'', behind @ ..] => return Some(behind),
            [b'\\', b'\'', behind @ ..] => (b'\'', behind),
            [byte, behind @ ..] => (*byte, behind),
        };
        arena.push(byte);
        rest = behind;
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        byte => byte,
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The blanks of C, which count the vertical tab in.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_blank(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_into(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut spans, mut arena) = (Vec::new(), b"earlier".to_vec());
        let outcome = split(line, &mut spans, &mut arena);
        if outcome.is_none() {
            assert_eq!((spans.len(), &arena[..]), (0, &b"earlier"[..]));
        }
        outcome.map(|()| spans.iter().map(|span| arena[span.start as usize..span.end as usize].to_vec()).collect())
    }

    #[test]
    fn lines_are_split_by_the_rules_of_redis() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t\x0b\x0c\r ", &[]),
            (b" set  k v ", &[b"set", b"k", b"v"]),
            (b"a\x0bb\x0cc", &[b"a\x0bb\x0cc"]),
            (b"\x0ba b", &[b"a", b"b"]),
            (br#""" ''"#, &[b"", b""]),
            (br#""a b" 'c d'"#, &[b"a b", b"c d"]),
            (br#"pre"fix""#, &[b"prefix"]),
            (br#""\x41\xfF\n\r\t\b\a\"\\\q""#, &[b"A\xff\n\r\t\x08\x07\"\\q"]),
            (br#""\xg1\x""#, &[b"xg1x"]),
            (br#"'\'\n\\ '"#, &[br"'\n\\ "]),
            (br"back\slash", &[br"back\slash"]),
            (b"\"a\"\x0bb", &[b"a", b"b"]),
        ];
        for (line, arguments) in cases {
            let split = split_into(line).expect("quotes match");
            assert_eq!(split, *arguments, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn unmatched_quotes_leave_nothing_behind() {
        for line in [&br#"a "b"#[..], b"a 'b", br#""a"b"#, b"'a'b", br#""a""b""#, br#""a\""#, br"'a\'", br#"a""""#] {
            assert_eq!(split_into(line), None, "{:?}", line.escape_ascii().to_string());
        }
    }
}
