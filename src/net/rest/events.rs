//! Server-sent events: what a conversation that is subscribed, or monitors, receives
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep, sleep};

use super::conversation::Conversation;
use respguard_resp::scan::{ReplyScanner, ScanLimits, elements};
use respguard_resp::{encode, value};

/// How often a comment shows that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
const COMMENT: &[u8] = b": \n\n";
/// The largest message that is passed on.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are given out at once.
const ENOUGH_BYTES: usize = 16 * 1024;

/// What is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    Channels,
    Patterns,
    Monitor,
}

impl Feed {
    /// The request that begins it.
    pub fn request(self, names: &[Vec<u8>]) -> Vec<u8> {
        let command: &[u8] = match self {
            Feed::Channels => b"SUBSCRIBE",
            Feed::Patterns => b"PSUBSCRIBE",
            Feed::Monitor => b"MONITOR",
        };
        let words: Vec<&[u8]> = [command].into_iter().chain(names.iter().map(|name| &name[..])).collect();
        encode::requests(&[&words])
    }
}

/// A stream of events, which ends with its conversation.
pub struct Events {
    conversation: Conversation,
    scanner: ReplyScanner,
    frame: Vec<u8>,
    /// Bytes that have come and were not looked at.
    input: BytesMut,
    out: Vec<u8>,
    heartbeat: Pin<Box<Sleep>>,
    is_over: bool,
}

impl Events {
    /// Says the request and waits for the first answer, which is the first event.
    ///
    /// # Errors
    /// What the server refuses it with.
    pub async fn begin(conversation: Conversation, request: &[u8]) -> Result<Events, Vec<u8>> {
        let mut events = Events {
            conversation,
            scanner: ReplyScanner::new(ScanLimits::default()),
            frame: Vec::new(),
            input: BytesMut::new(),
            out: Vec::new(),
            heartbeat: Box::pin(sleep(HEARTBEAT)),
            is_over: false,
        };
        let mut rest = request;
        std::future::poll_fn(|cx| {
            while !rest.is_empty() {
                match ready!(events.conversation.poll_send(rest, cx)) {
                    Ok(bytes) => rest = &rest[bytes..],
                    Err(_) => break,
                }
            }
            Poll::Ready(())
        })
        .await;
        events.conversation.end_request();
        match std::future::poll_fn(|cx| events.poll_frame(cx)).await {
            None => Err(b"ERR respguard: the connection was closed".to_vec()),
            Some(frame) if value::is_error(&frame) => Err(value::error_text(&frame).to_vec()),
            Some(frame) => {
                event(&frame, &mut events.out);
                Ok(events)
            }
        }
    }

    /// The next reply or message, whole.
    fn poll_frame(&mut self, cx: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            if self.input.is_empty() {
                match ready!(self.conversation.poll_receive(cx)) {
                    Some(bytes) => self.input.extend_from_slice(bytes),
                    None => return Poll::Ready(None),
                }
            }
            let Ok(scanned) = self.scanner.scan(&self.input) else { return Poll::Ready(None) };
            if self.frame.len() + scanned.bytes > MESSAGE_BYTES_MAX {
                return Poll::Ready(None);
            }
            self.frame.extend_from_slice(&self.input.split_to(scanned.bytes));
            if scanned.end {
                return Poll::Ready(Some(std::mem::take(&mut self.frame)));
            }
        }
    }

    /// The next bytes of the stream; `None` is its end.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.is_over && self.out.len() < ENOUGH_BYTES {
            match self.poll_frame(cx) {
                Poll::Ready(Some(frame)) => event(&frame, &mut self.out),
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => break,
            }
        }
        if self.out.is_empty() && !self.is_over && self.heartbeat.as_mut().poll(cx).is_ready() {
            self.out.extend_from_slice(COMMENT);
        }
        if !self.out.is_empty() {
            self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
            // Nobody wakes the task for a timer that was not polled.
            let _ = self.heartbeat.as_mut().poll(cx);
            return Poll::Ready(Some(Bytes::from(std::mem::take(&mut self.out))));
        }
        if self.is_over { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// One event: the words of a push with commas between them, or the line of a monitor.
fn event(frame: &[u8], out: &mut Vec<u8>) {
    let mut text: Vec<u8> = Vec::new();
    match value::simple(frame) {
        Some(b"OK") => text.extend_from_slice(b"\"OK\""),
        Some(line) => text.extend_from_slice(line),
        None => {
            for (place, element) in elements(frame).enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                match value::integer(element) {
                    Some(number) => text.extend_from_slice(number.to_string().as_bytes()),
                    None => text.extend_from_slice(value::bulk(element).unwrap_or_default()),
                }
            }
        }
    }
    let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
    for line in text.split(['\n', '\r']) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(frame: &str) -> String {
        let mut out = Vec::new();
        event(frame.as_bytes(), &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn pushes_are_words_with_commas() {
        assert_eq!(written("*3\r\n$9\r\nsubscribe\r\n$4\r\nchat\r\n:1\r\n"), "data: subscribe,chat,1\n\n");
        assert_eq!(written("*3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n$2\r\nhi\r\n"), "data: message,chat,hi\n\n");
        assert_eq!(
            written("*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$4\r\nchat\r\n$5\r\na,b c\r\n"),
            "data: pmessage,c*,chat,a,b c\n\n"
        );
    }

    #[test]
    fn a_message_of_many_lines_stays_one_event() {
        let frame = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$13\r\na\n\ndata: x\r\r\n\r\n";
        assert_eq!(written(frame), "data: message,c,a\ndata: \ndata: data: x\ndata: \ndata: \n\n");
    }

    #[test]
    fn a_monitor_begins_with_ok_and_goes_on_with_its_lines() {
        assert_eq!(written("+OK\r\n"), "data: \"OK\"\n\n");
        assert_eq!(written("+1.5 [0 lua] \"get\" \"k\"\r\n"), "data: 1.5 [0 lua] \"get\" \"k\"\n\n");
    }
}
