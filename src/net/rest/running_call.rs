//! One request under way: sends its commands in a conversation and receives the replies, within the bounds on both.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use super::Rest;
use super::call::Call;
use super::conversation::Conversation;
use super::replies::{Format, Replies};

/// What is answered in the place of replies that were lost with their conversation.
const LOST: &str = "TIMEOUT respguard: outcome unknown: the connection that its reply was to come over was closed";
const UNSENT: &str = "ERR respguard: the command was not sent: the connection was closed before";

/// A request whose commands are being run. Dropped before its end, it closes its conversation: what was sent may still run,
/// as when any other client goes.
pub struct RunningCall {
    rest: Rc<Rest>,
    conversation: Option<Conversation>,
    request: Bytes,
    replies: Replies,
    /// Nothing of it has left the proxy.
    is_unsent: bool,
    is_broken: bool,
}

impl RunningCall {
    /// A request that has its conversation; without one nothing of it is sent.
    pub fn new(rest: &Rc<Rest>, conversation: Option<Conversation>, call: Call, format: Format) -> RunningCall {
        let request = Bytes::from(call.request);
        let replies = Replies::new(format, call.shape, call.slots);
        RunningCall { rest: Rc::clone(rest), conversation, request, replies, is_unsent: true, is_broken: false }
    }

    /// Goes on until the answer is complete, or so many bytes of it are there.
    pub fn poll(&mut self, cx: &mut Context<'_>, enough: usize) -> Poll<()> {
        loop {
            if self.is_over() {
                self.give_back();
                return Poll::Ready(());
            }
            if self.replies.written() >= enough {
                return Poll::Ready(());
            }
            let has_sent = self.send(cx);
            let has_received = self.receive(cx);
            if !has_sent && !has_received {
                return Poll::Pending;
            }
        }
    }

    /// True when it has said something.
    fn send(&mut self, cx: &Context<'_>) -> bool {
        let Some(conversation) = self.conversation.as_ref().filter(|_| !self.request.is_empty()) else { return false };
        match conversation.poll_send(&self.request, cx) {
            Poll::Ready(Ok(bytes)) => {
                self.request.advance(bytes);
                if self.request.is_empty() {
                    self.request = Bytes::new();
                    conversation.end_request();
                }
                true
            }
            // Why, its other half tells.
            Poll::Ready(Err(_)) => {
                self.request.clear();
                false
            }
            Poll::Pending => false,
        }
    }

    /// True when something has come, be it the end.
    fn receive(&mut self, cx: &Context<'_>) -> bool {
        let Some(conversation) = &mut self.conversation else { return false };
        match conversation.poll_receive(cx) {
            Poll::Ready(Some(bytes)) => {
                self.is_unsent = false;
                if self.replies.feed(bytes).is_err() {
                    self.fail();
                }
                true
            }
            Poll::Ready(None) => {
                self.fail();
                true
            }
            Poll::Pending => false,
        }
    }

    /// The conversation cannot go on: what has no reply is answered with what is known.
    fn fail(&mut self) {
        let unread = self.conversation.as_ref().map_or(0, Conversation::unread);
        let text = if self.is_unsent && unread > 0 { UNSENT } else { LOST };
        self.conversation = None;
        self.is_broken = !self.replies.fail(text);
    }

    /// The answer is complete; or it breaks off, which `is_broken` tells.
    pub fn is_over(&self) -> bool {
        self.is_broken || self.replies.is_done()
    }

    /// A reply was given out in part, and its rest will not come.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// What has been written and not been taken.
    pub fn take(&mut self) -> Bytes {
        Bytes::from(self.replies.take())
    }

    /// Whether there is something to take.
    pub fn has_written(&self) -> bool {
        self.replies.written() > 0
    }

    /// The text of the one reply, if it was an error.
    pub fn error(&self) -> Option<&[u8]> {
        self.replies.error()
    }

    fn give_back(&mut self) {
        if let Some(conversation) = self.conversation.take().filter(|_| self.request.is_empty()) {
            self.rest.give(conversation);
        }
    }
}
