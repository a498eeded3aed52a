//! The receiving half of an upstream connection: from bytes to pieces of frames for their recipients.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio_util::io::poll_read_buf;

use super::wire::Wire;
use super::{Link, Loss};
use crate::net::clock;
use crate::net::context::{Context, READ_BYTES};
use crate::net::splice::SPLICE_BYTES_MIN;
use crate::net::upstream::Recipient;
use respguard_engine::link::inflight::Class;
use respguard_engine::pipeline::reading::Part;
use respguard_resp::scan::{ReplyScanner, ScanLimits};

/// A frame that is not complete is handed over in pieces from this size on.
const PIECE_BYTES_MIN: usize = 32 * 1024;
/// A frame of which so much has been handed over is read in larger pieces.
const LARGE_BYTES: usize = 256 * 1024;
/// What one read of a large frame takes at the most.
const LARGE_READ_BYTES: usize = 512 * 1024;

/// Whole replies that are looked at together.
const PLAIN_FRAMES_MAX: u32 = 64;

/// What has been received and not yet handed over.
pub(super) struct Reading {
    scanner: ReplyScanner,
    /// Starts with the first byte of a frame, or of the rest of one that was begun.
    buffer: BytesMut,
    /// Bytes at the front that belong to the frame in progress and have been looked at.
    scanned: usize,
    /// A piece of the frame in progress has been handed over.
    begun: bool,
    /// Bytes of the frame in progress that have been handed over.
    handed: usize,
    /// The frame in progress is one that nobody asked for.
    stray: bool,
    touched: Vec<Rc<dyn Recipient>>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            scanner: ReplyScanner::new(ScanLimits::default()),
            buffer: BytesMut::new(),
            scanned: 0,
            begun: false,
            handed: 0,
            stray: false,
            touched: Vec::new(),
        }
    }
}

impl Reading {
    /// Reads what has come in, at most one buffer.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut impl Wire,
        context: &Context,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            // Every other time nothing has come: no buffer is taken for that.
            if !stream.may_read(cx) {
                return Poll::Pending;
            }
            self.buffer = context.read_buffers.take();
        }
        self.buffer.reserve(if self.is_inside_large() { LARGE_READ_BYTES } else { READ_BYTES / 4 });
        let read = match stream.try_read(&mut self.buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => poll_read_buf(Pin::new(stream), cx, &mut self.buffer),
            read => Poll::Ready(read),
        };
        if read.is_pending() && self.buffer.is_empty() {
            self.finish(context);
        }
        read
    }

    /// Nothing is read for a while.
    pub(super) fn rest(&mut self, context: &Context) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            self.finish(context);
        }
    }

    /// True while a large frame is passing.
    pub(super) fn is_inside_large(&self) -> bool {
        self.handed >= LARGE_BYTES
    }

    /// How much of the frame in progress may be moved without being read, if that is worth while.
    pub(super) fn spliceable_bytes(&self) -> Option<usize> {
        let left = self.scanner.payload_left();
        let is_inside = self.begun && !self.stray && self.buffer.is_empty() && left >= SPLICE_BYTES_MIN;
        is_inside.then(|| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// So much of it was moved.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.scanner.skip_payload(bytes as u64);
        self.handed += bytes;
    }

    /// Gives the buffer back.
    pub(super) fn finish(&mut self, context: &Context) {
        context.read_buffers.give(std::mem::take(&mut self.buffer));
    }

    /// Hands every piece that can be handed over to its recipient, then lets each of them write once.
    pub(super) fn hand_out(&mut self, link: &Link) -> Result<(), Loss> {
        let result = self.hand_out_pieces(link);
        link.is_inside_frame.set(self.begun || !self.buffer.is_empty());
        for recipient in self.touched.drain(..) {
            recipient.flush();
        }
        result
    }

    fn hand_out_pieces(&mut self, link: &Link) -> Result<(), Loss> {
        if link.pass_unread(&self.buffer, &mut self.touched) {
            self.buffer.clear();
            self.scanned = 0;
            return Ok(());
        }
        let mut latency = Latency::begin(link);
        let mut at = 0;
        let result = loop {
            let rest = &self.buffer[at + self.scanned..];
            if rest.is_empty() {
                break Ok(());
            }
            let plain = if self.begun { 0 } else { link.takes_plain(PLAIN_FRAMES_MAX) };
            let taken = self.scanner.scan_plain(rest, plain);
            if taken.frames > 0 {
                let replies = at..at + taken.bytes;
                at = replies.end;
                let handed = link.hand_over_plain(&self.buffer[replies], taken.frames, &mut self.touched);
                latency.count(link, taken.frames);
                if handed.is_err() {
                    break handed;
                }
                continue;
            }
            if !self.begun && self.scanned == 0 {
                let (frames, bytes) = link.hand_over_queued(rest, &mut self.touched);
                if frames > 0 {
                    at += bytes;
                    latency.count(link, frames);
                    continue;
                }
            }
            let piece = match self.scanner.scan(rest) {
                Ok(piece) => piece,
                Err(error) => break Err(error.into()),
            };
            self.scanned += piece.bytes;
            if !piece.end && !self.begun && self.scanned < PIECE_BYTES_MIN {
                break Ok(());
            }
            if piece.end && !self.begun && link.doubts(&self.buffer[at..at + self.scanned]) {
                // It is looked at again once it is known what it means.
                (self.scanner, self.scanned) = (ReplyScanner::new(ScanLimits::default()), 0);
                break Ok(());
            }
            let part = Part { first: !self.begun, last: piece.end, top: self.scanner.top() };
            let handed = link.hand_over(&self.buffer[at..at + self.scanned], part, &mut self.stray, &mut self.touched);
            self.handed = if piece.end { 0 } else { self.handed + self.scanned };
            at += std::mem::take(&mut self.scanned);
            self.begun = !piece.end;
            if piece.end && !self.stray {
                latency.count(link, 1);
            }
            if handed.is_err() {
                break handed;
            }
        };
        latency.end(link);
        link.look_away();
        // Its room begins anew where nothing is left.
        if at == self.buffer.len() {
            self.buffer.clear()
        } else {
            self.buffer.advance(at)
        }
        result
    }
}

/// Counts replies by when their requests were read, and what those are: one observation for all of one batch.
pub(super) struct Latency {
    asked: Option<(Instant, Class)>,
    replies: u32,
}

impl Latency {
    pub(super) fn begin(link: &Link) -> Latency {
        let asked = link.head_asked();
        link.look_for_slow(asked);
        Latency { asked, replies: 0 }
    }

    /// Replies to one batch have been handed over; the next one may answer another.
    pub(super) fn count(&mut self, link: &Link, replies: u32) {
        self.replies += replies;
        let next = link.head_asked();
        if next != self.asked {
            self.end(link);
            self.asked = next;
            link.look_for_slow(next);
        }
    }

    pub(super) fn end(&mut self, link: &Link) {
        if let Some((read_at, class)) = self.asked
            && self.replies > 0
        {
            let now = clock::now();
            link.answered(read_at);
            link.replied(now);
            link.observe(class, (read_at, now), std::mem::take(&mut self.replies));
        }
    }
}
