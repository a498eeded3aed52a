//! Brings replies back into the order of the requests, where the requests went out in another one.
//!
//! A place is kept for each request in the order in which they were read. Replies come in the order in which the
//! requests were sent; one whose place is not the first waits in its place.

use std::collections::VecDeque;

use respguard_resp::encode;
use respguard_resp::scan::elements;

/// The places of one client, while some of its requests have overtaken others.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// The number of the first place that is not done.
    first: u64,
    places: VecDeque<Place>,
    /// The places that the next replies fill, in the order in which they come.
    coming: VecDeque<u64>,
    /// The places of the requests that are sent next, where they have one already.
    aimed: VecDeque<u64>,
    /// Replies that come in one piece and belong to several places.
    together: Vec<u8>,
    /// Bytes that wait in places.
    kept_bytes: usize,
}

#[derive(Debug, Default)]
struct Place {
    reply: Vec<u8>,
    done: bool,
}

impl Reorder {
    /// True when nothing waits for anything any more.
    pub(super) fn is_over(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes that wait for replies before them.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Keeps a place for the next request.
    pub(super) fn reserve(&mut self) -> u64 {
        self.places.push_back(Place::default());
        self.first + self.places.len() as u64 - 1
    }

    /// The request that is sent next has this place.
    pub(super) fn aim(&mut self, place: u64) {
        self.aimed.push_back(place);
    }

    /// A request is sent that is owed so many replies, each in a place of its own.
    pub(super) fn sent(&mut self, replies: usize) {
        for _ in 0..replies {
            let place = self.aimed.pop_front().unwrap_or_else(|| self.reserve());
            self.coming.push_back(place);
        }
    }

    /// Where the next `replies` replies go as they come.
    pub(super) fn sink<'a>(&'a mut self, replies: usize, out: &'a mut Vec<u8>) -> &'a mut Vec<u8> {
        match (replies, self.coming.front()) {
            (1, Some(&place)) if place == self.first => out,
            (1, Some(&place)) => match self.places.get_mut(usize::try_from(place - self.first).unwrap_or(usize::MAX)) {
                Some(place) => &mut place.reply,
                None => out,
            },
            _ => &mut self.together,
        }
    }

    /// The next `replies` replies have come; what need not wait any longer goes to `out`.
    pub(super) fn came(&mut self, replies: usize, out: &mut Vec<u8>) {
        if replies > 1 {
            let mut array = Vec::with_capacity(self.together.len() + 16);
            encode::array_header(&mut array, replies);
            array.append(&mut self.together);
            let mut frames = elements(&array);
            for _ in 0..replies {
                self.sink(1, out).extend_from_slice(frames.next().unwrap_or_default());
                self.done(out);
            }
        } else if replies == 1 {
            self.done(out);
        }
        debug_assert!(self.together.is_empty() || replies == 0);
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        let Some(place) = self.coming.pop_front() else { return };
        let at = usize::try_from(place - self.first).unwrap_or(usize::MAX);
        if let Some(place) = self.places.get_mut(at) {
            place.done = true;
            self.kept_bytes += place.reply.len();
        }
        while let Some(place) = self.places.pop_front_if(|place| place.done) {
            self.first += 1;
            self.kept_bytes -= place.reply.len();
            out.extend_from_slice(&place.reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(reorder: &mut Reorder, out: &mut Vec<u8>, reply: &[u8]) {
        reorder.sink(1, out).extend_from_slice(reply);
        reorder.came(1, out);
    }

    #[test]
    fn a_reply_that_comes_early_waits_for_those_before_it() {
        let (mut reorder, mut out) = (Reorder::default(), Vec::new());
        let held = reorder.reserve();
        reorder.sent(1);
        reorder.sent(1);
        came(&mut reorder, &mut out, b"+second\r\n");
        assert_eq!((&out[..], reorder.kept_bytes()), (&b""[..], 9));
        reorder.aim(held);
        reorder.sent(1);
        came(&mut reorder, &mut out, b"+third\r\n");
        reorder.sent(1);
        came(&mut reorder, &mut out, b"+first\r\n");
        assert_eq!(out, b"+first\r\n+second\r\n+third\r\n");
        assert!(!reorder.is_over());
        came(&mut reorder, &mut out, b"+fourth\r\n");
        assert!(reorder.is_over() && out.ends_with(b"+fourth\r\n") && reorder.kept_bytes() == 0);
    }

    #[test]
    fn replies_that_come_together_part_into_their_places() {
        let (mut reorder, mut out) = (Reorder::default(), Vec::new());
        let places: Vec<_> = (0..3).map(|_| reorder.reserve()).collect();
        reorder.aim(places[1]);
        reorder.sent(1);
        reorder.aim(places[0]);
        reorder.aim(places[2]);
        reorder.sent(2);
        came(&mut reorder, &mut out, b"$1\r\nb\r\n");
        reorder.sink(2, &mut out).extend_from_slice(b"*2\r\n+a\r\n:1\r\n");
        reorder.sink(2, &mut out).extend_from_slice(b"-c\r\n");
        assert!(out.is_empty());
        reorder.came(2, &mut out);
        assert_eq!(out, b"*2\r\n+a\r\n:1\r\n$1\r\nb\r\n-c\r\n");
        assert!(reorder.is_over());
    }
}
