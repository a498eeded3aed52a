//! Takes complete replies that need no inspection together.

use super::{ReplyScanner, State};
use crate::frame::plain_frame;

/// What [`ReplyScanner::scan_plain`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainFrames {
    /// How many of the bytes given they take up.
    pub bytes: usize,
    /// How many they are.
    pub frames: u32,
}

impl ReplyScanner {
    /// Takes as many whole frames as `bytes` starts with, at most `frames_max`, as far as they are neither errors nor made
    /// of others; none where a frame is in progress.
    #[inline]
    pub fn scan_plain(&self, bytes: &[u8], frames_max: u32) -> PlainFrames {
        let mut taken = PlainFrames { bytes: 0, frames: 0 };
        if self.within || matches!(self.state, State::Failed(_)) {
            return taken;
        }
        while taken.frames < frames_max {
            let Some(length) = plain_frame(&bytes[taken.bytes..], self.limits.bulk_bytes_max) else { break };
            taken.bytes += length;
            taken.frames += 1;
        }
        taken
    }
}

/// How many bytes the first `frames_max` of whole plain frames take up, as [`ReplyScanner::scan_plain`] has found them.
#[inline]
pub fn plain_frames(bytes: &[u8], frames_max: usize) -> usize {
    let (mut taken, mut frames) = (0, 0);
    while frames < frames_max {
        let Some(length) = plain_frame(&bytes[taken..], u64::MAX) else { break };
        taken += length;
        frames += 1;
    }
    taken
}
