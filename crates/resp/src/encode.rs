//! Writes the proxy's own frames into a buffer.

use super::Protocol;

/// Those of u64::MAX.
const DIGITS_MAX: usize = 20;
/// The kind, a number, the end of the line.
const HEAD_BYTES_MAX: usize = 1 + DIGITS_MAX + 2;

/// A bulk string asks for room for so many bytes beside its payload.
pub const BULK_FRAMING_MAX: usize = HEAD_BYTES_MAX + 2;

/// `-text`: an error reply. Line breaks in `text` become spaces, for they would end the frame.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text.as_bytes());
}

/// The same as a reply of its own.
pub fn error_reply(text: &str) -> Vec<u8> {
    let mut reply = Vec::with_capacity(text.len() + 3);
    error(&mut reply, text);
    reply
}

/// `+text`: a simple string. Line breaks in `text` become spaces.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text.as_bytes());
}

/// `$length payload`: a bulk string.
pub fn bulk(out: &mut Vec<u8>, payload: &[u8]) {
    out.reserve(payload.len() + BULK_FRAMING_MAX);
    head(out, b'$', payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// The same of a number in decimal.
pub fn bulk_number(out: &mut Vec<u8>, number: u64) {
    let mut room = [0; DIGITS_MAX];
    bulk(out, decimal(number, &mut room));
}

/// `:number`.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    out.push(b':');
    if number < 0 {
        out.push(b'-');
    }
    digits(out, number.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

/// The null of the protocol spoken: `$-1` or `_`.
pub fn null(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// `*elements`: the head of an array; its elements follow.
pub fn array_header(out: &mut Vec<u8>, elements: usize) {
    head(out, b'*', elements);
}

/// The head of a map of so many pairs; in RESP2 an array of twice as many elements.
pub fn map_header(out: &mut Vec<u8>, pairs: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => head(out, b'*', pairs * 2),
        Protocol::Resp3 => head(out, b'%', pairs),
    }
}

/// A request as clients send it: an array of bulk strings, the command name first.
pub fn request(out: &mut Vec<u8>, args: &[&[u8]]) {
    array_header(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

/// The same as a frame of its own.
pub fn request_frame(args: &[&[u8]]) -> Vec<u8> {
    let bulks: usize = args.iter().map(|arg| arg.len() + BULK_FRAMING_MAX).sum();
    let mut frame = Vec::with_capacity(HEAD_BYTES_MAX + bulks);
    request(&mut frame, args);
    frame
}

/// Several requests, one behind the other.
pub fn requests(all: &[&[&[u8]]]) -> Vec<u8> {
    let mut out = Vec::new();
    all.iter().for_each(|words| request(&mut out, words));
    out
}

pub(super) fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend(text.iter().map(|&byte| match byte {
        b'\r' | b'\n' => b' ',
        byte => byte,
    }));
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn head(out: &mut Vec<u8>, kind: u8, count: usize) {
    // Nearly all counts are small.
    if count < 10 {
        return out.extend_from_slice(&[kind, b'0' + count as u8, b'\r', b'\n']);
    }
    if count < 100 {
        return out.extend_from_slice(&[kind, b'0' + (count / 10) as u8, b'0' + (count % 10) as u8, b'\r', b'\n']);
    }
    long_head(out, kind, count);
}

#[inline(never)]
fn long_head(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    digits(out, count as u64);
    out.extend_from_slice(b"\r\n");
}

fn digits(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(decimal(number, &mut [0; DIGITS_MAX]));
}

fn decimal(mut number: u64, text: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    &text[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before".to_vec();
        write(&mut out);
        String::from_utf8(out.split_off(6)).expect("the tests write text")
    }

    #[test]
    fn frames_are_appended_as_redis_writes_them() {
        assert_eq!(written(|out| error(out, "ERR no")), "-ERR no\r\n");
        assert_eq!(written(|out| simple(out, "OK")), "+OK\r\n");
        assert_eq!(written(|out| bulk(out, b"")), "$0\r\n\r\n");
        assert_eq!(written(|out| bulk(out, b"0123456789")), "$10\r\n0123456789\r\n");
        assert_eq!(written(|out| bulk_number(out, u64::MAX)), "$20\r\n18446744073709551615\r\n");
        for length in [1, 9, 10, 11, 99, 100, 101, 999, 1000] {
            assert_eq!(written(|out| bulk(out, &vec![b'x'; length])), format!("${length}\r\n{}\r\n", "x".repeat(length)));
        }
        assert_eq!(written(|out| null(out, Protocol::Resp2)), "$-1\r\n");
        assert_eq!(written(|out| null(out, Protocol::Resp3)), "_\r\n");
        assert_eq!(written(|out| array_header(out, 3)), "*3\r\n");
        assert_eq!(written(|out| request(out, &[b"GET", b"k"])), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    #[test]
    fn integers_are_written_over_their_whole_range() {
        for number in [0, 1, -1, 9, 10, -10, i64::MAX, i64::MIN] {
            assert_eq!(written(|out| integer(out, number)), format!(":{number}\r\n"));
        }
    }

    #[test]
    fn a_map_is_an_array_of_twice_the_pairs_in_resp2() {
        assert_eq!(written(|out| map_header(out, 7, Protocol::Resp2)), "*14\r\n");
        assert_eq!(written(|out| map_header(out, 7, Protocol::Resp3)), "%7\r\n");
    }

    #[test]
    fn line_breaks_cannot_be_smuggled_into_a_line() {
        assert_eq!(written(|out| error(out, "ERR a\r\n+OK\n")), "-ERR a  +OK \r\n");
    }
}
