//! Replies of a server, read one whole frame at a time.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::stream::Stream;
use respguard_resp::scan::{ReplyScanner, ScanError, ScanLimits};

/// What has come on a connection and has not been taken yet.
pub struct Frames {
    scanner: ReplyScanner,
    buffer: BytesMut,
    /// Bytes at the front of the buffer that have been looked at.
    scanned: usize,
    /// No frame may be longer.
    bytes_max: usize,
}

impl Frames {
    /// Behind what is in the buffer.
    pub fn behind(buffer: BytesMut, bytes_max: usize) -> Frames {
        Frames { scanner: ReplyScanner::new(ScanLimits::default()), buffer, scanned: 0, bytes_max }
    }

    /// True when nothing has come behind the last frame.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next frame; where the future is dropped, what has come of it is kept.
    ///
    /// # Errors
    /// The connection is lost, or what comes on it is no Redis protocol, or too long.
    pub async fn next<E: From<io::Error> + From<ScanError>>(&mut self, stream: &mut Stream) -> Result<BytesMut, E> {
        loop {
            if self.scanned < self.buffer.len() {
                let piece = self.scanner.scan(&self.buffer[self.scanned..])?;
                self.scanned += piece.bytes;
                if piece.end {
                    return Ok(self.buffer.split_to(std::mem::take(&mut self.scanned)));
                }
            }
            if self.buffer.len() > self.bytes_max {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}
