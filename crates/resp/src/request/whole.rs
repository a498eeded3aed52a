//! Bounds a complete and ordinary request in one step.

use super::{PAYLOAD_END_BYTES, RequestParser};
use crate::args::Span;
use crate::frame::plain_length;

/// The line `$d\r` of an argument of less than ten bytes, as a little-endian number, and what of it counts.
const SHORT_LINE: u32 = u32::from_le_bytes([b'$', 0, b'\r', 0]);
const SHORT_LINE_MASK: u32 = u32::from_le_bytes([0xff, 0, 0xff, 0]);

impl RequestParser {
    /// The length of the request that `input` starts with, if all of it is there and nothing about it is odd; else nothing
    /// has happened.
    #[inline]
    pub(super) fn whole(&self, input: &[u8], spans: &mut Vec<Span>, whole_bytes_max: usize) -> Option<usize> {
        let (b'*', digits) = input.split_first()? else { return None };
        let (arguments, used) = plain_length(digits)?;
        let goes_on = self.streaming || !self.is_between_requests();
        if goes_on || arguments == 0 || arguments > self.limits.arguments_max || self.limits.unauthenticated {
            return None;
        }
        // A span's ends are u32.
        let input = &input[..input.len().min(whole_bytes_max).min(u32::MAX as usize)];
        let (before, mut at) = (spans.len(), 1 + used);
        for _ in 0..arguments {
            let Some(span) = self.plain_argument(input, at) else {
                spans.truncate(before);
                return None;
            };
            spans.push(span);
            at = span.end as usize + PAYLOAD_END_BYTES as usize;
        }
        Some(at)
    }

    /// Where the payload of the argument lies whose line begins at `at`.
    #[inline(always)]
    fn plain_argument(&self, input: &[u8], at: usize) -> Option<Span> {
        let line = u32::from_le_bytes(*input.get(at..)?.first_chunk()?);
        let ones = (line >> 8 & 0xff).wrapping_sub(u32::from(b'0'));
        let (start, length) = match line & SHORT_LINE_MASK == SHORT_LINE && ones <= 9 {
            true => (at + 4, ones as usize),
            false if line as u8 == b'$' => {
                let (length, used) = plain_length(&input[at + 1..])?;
                (at + 1 + used, length as usize)
            }
            false => return None,
        };
        let end = start + length;
        let fits = end + PAYLOAD_END_BYTES as usize <= input.len() && length as u64 <= self.limits.bulk_bytes_max;
        fits.then_some(Span { start: start as u32, end: end as u32 })
    }
}
