//! The proxy's own questions to the server: one way for all of them.
//!
//! What is asked takes its place among the requests of a connection; its answer is for the asker alone. Who can wait uses
//! [`ask`], who cannot says with [`call`] what is done with the answer, and who does not care uses [`send_and_forget`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::Link;
use super::discard::Discard;
use super::{Admitted, Recipient};
use crate::net::clock;
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::link::times::Times;
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::reading::Part;

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The whole reply, which may be an error.
    Reply(&'a [u8]),
    /// It was sent, or was to be, and no reply will come: nobody knows what the server has made of it.
    Lost,
    /// The connection has ended: nothing was sent.
    NotSent,
}

impl<'a> Answer<'a> {
    /// The reply, if one came.
    pub fn reply(self) -> Option<&'a [u8]> {
        match self {
            Answer::Reply(reply) => Some(reply),
            Answer::Lost | Answer::NotSent => None,
        }
    }
}

/// Asks one question, whose reply is one frame, over this connection, and waits `longest` for it. Like any request it has a
/// deadline: without one, those behind it would not be told of theirs.
///
/// `then` hears once what came of it, while the connection hands out replies: it must not send anything on it.
pub fn call(link: &Link, question: &[u8], longest: Duration, then: impl FnOnce(Answer<'_>) + 'static) {
    let caller = Rc::new(Caller { gathered: RefCell::default(), then: Cell::new(Some(then)) });
    let now = clock::now();
    let who: Rc<dyn Recipient> = Rc::<Caller<_>>::clone(&caller);
    if !link.send(who, &[question], Owed::answer(), Times::within(now, longest)) {
        caller.conclude(Answer::NotSent);
    }
}

/// A question and its reply, if one comes in time. Dropping the future leaves the connection in step: the reply is then for
/// nobody.
pub async fn ask(link: &Link, question: &[u8], longest: Duration) -> Option<Vec<u8>> {
    let (reply, replied) = oneshot::channel();
    call(link, question, longest, move |answer| {
        // Who asked may have left.
        let _ = reply.send(answer.reply().map(<[u8]>::to_vec));
    });
    replied.await.ok().flatten()
}

/// A request whose answer nobody needs.
pub fn send_and_forget(link: &Link, request: &[u8], longest: Duration) {
    let now = clock::now();
    // A connection that has ended tells nobody anything.
    let _ = link.send(Rc::new(Discard), &[request], Owed::answer(), Times::within(now, longest));
}

/// Whoever is owed the reply.
struct Caller<F> {
    /// The pieces of a reply that comes in several.
    gathered: RefCell<Vec<u8>>,
    then: Cell<Option<F>>,
}

impl<F: FnOnce(Answer<'_>)> Caller<F> {
    fn conclude(&self, answer: Answer<'_>) {
        if let Some(then) = self.then.take() {
            then(answer);
        }
    }
}

impl<F: FnOnce(Answer<'_>)> Recipient for Caller<F> {
    fn admit(&self, _to: ReplyTo, piece: &[u8], part: Part) -> Admitted {
        if part.first && part.last {
            self.conclude(Answer::Reply(piece));
        } else {
            self.gathered.borrow_mut().extend_from_slice(piece);
            if part.last {
                self.conclude(Answer::Reply(&self.gathered.take()));
            }
        }
        Admitted::default()
    }

    fn fault(&self, _owed: Owed, _fault: Fault) {
        self.conclude(Answer::Lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_resp::scan::Top;

    /// What a caller hears of these pieces, and of a fault behind them.
    fn heard(pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hears = Rc::clone(&heard);
        let then = move |answer: Answer<'_>| hears.borrow_mut().push(answer.reply().map(<[u8]>::to_vec));
        let caller = Caller { gathered: RefCell::default(), then: Cell::new(Some(then)) };
        for (at, piece) in pieces.iter().enumerate() {
            let (first, last) = (at == 0, piece.ends_with(b"\r\n"));
            caller.admit(ReplyTo::Question(0), piece, Part { first, last, top: Top::default() });
        }
        caller.fault(Owed::answer(), Fault::Lost);
        heard.take()
    }

    #[test]
    fn a_caller_hears_the_whole_reply_and_nothing_more() {
        assert_eq!(heard(&[b"+PONG\r\n"]), [Some(b"+PONG\r\n".to_vec())]);
        assert_eq!(heard(&[b"$4\r", b"\nab", b"cd\r\n"]), [Some(b"$4\r\nabcd\r\n".to_vec())]);
    }

    #[test]
    fn a_caller_hears_once_that_no_reply_or_only_a_part_comes() {
        assert_eq!(heard(&[]), [None]);
        assert_eq!(heard(&[b"$4\r\nab"]), [None]);
    }
}
