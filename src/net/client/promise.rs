//! Takes the reply to one command on a spare connection into the place that was promised to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::net::exchange::{End, Exchange};
use crate::net::upstream::connection::{Link, Standing};
use crate::net::upstream::lane::Lane;
use crate::net::upstream::{Admitted, Recipient};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::resolve::Part;
use respguard_resp::encode;

/// Who is owed the reply, and which connection it comes from.
pub struct Promise {
    exchange: Rc<Exchange>,
    number: u64,
    gathered: RefCell<Vec<u8>>,
    lane: Rc<Lane>,
    lease: RefCell<Option<Rc<Link>>>,
    clean: Cell<bool>,
}

impl Promise {
    /// The reply that comes over `lease` belongs into the place `number`.
    pub fn new(exchange: &Rc<Exchange>, number: u64, lane: &Rc<Lane>, lease: &Rc<Link>) -> Rc<Promise> {
        Rc::new(Promise {
            exchange: Rc::clone(exchange),
            number,
            gathered: RefCell::default(),
            lane: Rc::clone(lane),
            lease: RefCell::new(Some(Rc::clone(lease))),
            clean: Cell::new(false),
        })
    }

    fn keep(&self, reply: Vec<u8>) {
        self.exchange.keep_promise(self.number, reply);
    }
}

impl Recipient for Promise {
    fn admit(&self, piece: &[u8], part: Part) -> Admitted {
        self.gathered.borrow_mut().extend_from_slice(piece);
        if part.last {
            self.clean.set(true);
            self.keep(self.gathered.take());
        }
        Admitted::default()
    }

    fn fault(&self, _frames: u32, fault: Fault) {
        // It was not let in: the session goes no further than the connections that it has.
        if self.lease.borrow().as_ref().is_some_and(|lease| lease.standing() == Standing::Revoked) {
            self.exchange.end(End::Revoked);
        }
        let mut reply = Vec::new();
        let text = match fault {
            Fault::Unavailable | Fault::Refused => "ERR respguard: the command was not sent: the server is unavailable",
            Fault::Timeout | Fault::Lost => "TIMEOUT respguard: outcome unknown: no reply on the spare connection",
        };
        encode::error(&mut reply, text);
        self.keep(reply);
    }

    fn mark(&self) -> bool {
        true
    }

    fn flush(&self) {
        if let Some(lease) = self.lease.take() {
            self.lane.give_back(&lease, self.clean.get());
        }
    }
}
