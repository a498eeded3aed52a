//! What a client's front has taken and not sent on is flushed, whatever is kept besides.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::*;
use crate::net::front::Front;
use crate::net::registry::{Mailbox, Registry};
use crate::net::upstream::pool::Pool;
use crate::net::upstream::tests::{context, server, settings};
use crate::telemetry::exposition::Exposition;
use respguard_engine::command::Table;
use respguard_engine::link::owed::{ReplyTo, Seq};
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::reading::Part;
use respguard_resp::request::{Limits, RequestParser};
use respguard_resp::scan::Top;

/// Takes everything, as TLS does up to its bound, and has sent it only when it is flushed and its socket has room.
#[derive(Default)]
struct Encrypting {
    taken: Cell<usize>,
    sent: Cell<usize>,
    is_full: Cell<bool>,
}

impl Front for Rc<Encrypting> {
    fn poll_read(&mut self, _: &mut TaskContext<'_>, _: &mut BytesMut) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut TaskContext<'_>, replies: &[u8]) -> Poll<io::Result<usize>> {
        self.taken.set(self.taken.get() + replies.len());
        Poll::Ready(Ok(replies.len()))
    }

    fn try_write(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn poll_flush(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        if self.is_full.get() {
            return Poll::Pending;
        }
        self.sent.set(self.taken.get());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn may_read(&self, _: &mut TaskContext<'_>) -> bool {
        false
    }

    fn has_left(&self) -> bool {
        false
    }
}

/// Sends `GET k` for the client, and returns its place.
fn ask(exchange: &Rc<Exchange>) -> ReplyTo {
    let (table, mut batch, mut parser) = (Table::builtin(), Batch::default(), RequestParser::new(Limits::default()));
    let request = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    batch.parse(&mut parser, &table, request, usize::MAX);
    exchange.send_whole(&batch, request, (&table, &exchange.context.policy()), Duration::from_secs(20));
    ReplyTo::Request(Seq::default())
}

#[tokio::test]
async fn the_end_of_a_large_reply_is_flushed_where_no_buffer_was_there_for_it() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let context = context(&Exposition::build().1);
            let pool = Pool::new(&context, settings(server(usize::MAX).0));
            let (sender, _messages) = mpsc::channel(8);
            let mailbox = Mailbox { sender, clients: Arc::default() };
            let client = Registry::new(1).enter("a test".into(), "a test".into(), &mailbox).expect("there is room");
            let front = Rc::<Encrypting>::default();
            let exchange = Exchange::new(&client, &context, Box::new(Rc::clone(&front)), pool.first());
            exchange.attach(&mut TaskContext::from_waker(Waker::noop()));
            let to = ask(&exchange);
            let part = |first, last| Part { first, last, top: Top { kind: b'$', ..Top::default() } };
            exchange.admit(to, b"$6\r\nabc", part(true, false));
            Recipient::flush(&*exchange);
            assert_eq!(front.sent.get(), 7);
            // Another client has the only buffer, and the socket is full.
            let _buffer = context.write_buffers.take();
            front.is_full.set(true);
            exchange.admit(to, b"def\r\n", part(false, true));
            Recipient::flush(&*exchange);
            assert_eq!((front.taken.get(), front.sent.get()), (12, 7));
            assert!(!exchange.is_resolved(), "the client has not got the end");
            // There is room again.
            front.is_full.set(false);
            exchange.attach(&mut TaskContext::from_waker(Waker::noop()));
            assert_eq!(front.sent.get(), 12);
            assert!(exchange.is_resolved());
            pool.close();
        })
        .await;
}
