//! Bounds complete and ordinary requests, each in one step.

use super::{LINE_END, Limits, PAYLOAD_END_BYTES, RequestParser};
use crate::args::Span;
use crate::frame::length_of;

/// What bounds such requests, one after the other, while their parser stands between two.
#[derive(Clone, Copy, Debug)]
pub struct WholeRequests {
    limits: Limits,
    bytes_max: usize,
}

impl RequestParser {
    /// What bounds requests of at most `whole_bytes_max` bytes at once; nothing where each needs a closer look.
    #[inline]
    pub fn whole_requests(&self, whole_bytes_max: usize) -> Option<WholeRequests> {
        let goes_on = self.streaming || !self.is_between_requests();
        // A span's ends are u32.
        let bytes_max = whole_bytes_max.min(u32::MAX as usize);
        (!goes_on && !self.limits.unauthenticated).then_some(WholeRequests { limits: self.limits, bytes_max })
    }
}

impl WholeRequests {
    /// The length of the request that `input` starts with, if all of it is there and nothing about it is odd; else nothing
    /// has happened.
    #[inline(always)]
    pub fn bound(&self, input: &[u8], spans: &mut Vec<Span>) -> Option<usize> {
        let (arguments, used) = length_of::<b'*'>(input)?;
        if arguments == 0 || arguments > self.limits.arguments_max {
            return None;
        }
        let input = &input[..input.len().min(self.bytes_max)];
        let (before, mut at) = (spans.len(), used);
        for _ in 0..arguments {
            let Some(span) = self.argument(input, at) else {
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
    fn argument(&self, input: &[u8], at: usize) -> Option<Span> {
        let (length, used) = length_of::<b'$'>(input.get(at..)?)?;
        let start = at + used;
        let end = start + length as usize;
        let ends = input.get(end..end + PAYLOAD_END_BYTES as usize)? == LINE_END;
        let fits = ends && u64::from(length) <= self.limits.bulk_bytes_max;
        fits.then_some(Span { start: start as u32, end: end as u32 })
    }
}
