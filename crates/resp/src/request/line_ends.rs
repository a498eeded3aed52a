//! Finds the line ends that Redis takes for such although they are none.

use super::{LINE_END, Span};

/// Where in `request`, a multibulk with its arguments at `spans` or one without any, two bytes stand that Redis reads as the end of
/// a line or a payload, and that are not one: it looks at the first of them where a line ends, and at neither behind a payload.
///
/// Valkey from 9.1 on closes a connection on which it reads such bytes.
pub fn odd_line_ends<'r>(request: &'r [u8], spans: &'r [Span]) -> impl Iterator<Item = usize> + 'r {
    let count = request.iter().position(|byte| *byte == b'\r');
    let arguments = spans.iter().flat_map(|span| [(span.start as usize).wrapping_sub(LINE_END.len()), span.end as usize]);
    count.into_iter().chain(arguments).filter(|&at| request.get(at..at.wrapping_add(LINE_END.len())) != Some(LINE_END))
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Parsed, RequestParser};
    use super::*;

    fn odd(request: &[u8]) -> Vec<usize> {
        let (mut spans, mut parser) = (Vec::new(), RequestParser::new(Limits::default()));
        let parsed = parser.parse(request, &mut spans, &mut Vec::new(), usize::MAX);
        assert!(matches!(parsed, Parsed::Request { bytes, .. } | Parsed::Nothing { bytes } if bytes == request.len()));
        odd_line_ends(request, &spans).collect()
    }

    #[test]
    fn every_line_and_payload_is_looked_at() {
        assert_eq!(odd(b"*2\r\n$4\r\nECHO\r\n$1\r\n\r\r\n"), []);
        assert_eq!(odd(b"*2\rX$4\r\rECHO\n\n$1\rXaxx"), [2, 6, 12, 16, 19]);
        assert_eq!(odd(b"*0\rX"), [2]);
        assert_eq!(odd(b"*-1\r\n"), []);
    }

    #[test]
    fn a_request_with_one_is_not_bounded_at_once() {
        let whole = RequestParser::new(Limits::default()).whole_requests(usize::MAX).expect("it stands between two");
        let bound = |request: &[u8]| whole.bound(request, &mut Vec::new());
        assert_eq!(bound(b"*1\r\n$4\r\nPING\r\n"), Some(14));
        for request in [&b"*1\rX$4\r\nPING\r\n"[..], b"*1\r\n$4\rXPING\r\n", b"*1\r\n$4\r\nPINGx\n", b"*1\r\n$4\r\nPING\rx"] {
            assert_eq!(bound(request), None, "{}", request.escape_ascii());
        }
    }
}
