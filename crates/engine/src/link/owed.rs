//! Who a server's frames belong to: a client's request, by its `Seq`, or a question of the proxy's own.

/// A request's place among all requests of one client, in the order in which they were read. Replies leave in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// The place with this number, from 0.
    #[must_use]
    pub fn numbered(number: u64) -> Seq {
        Seq(number)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The `Seq` this many requests further on.
    #[must_use]
    pub fn plus(self, requests: usize) -> Seq {
        Seq(self.0 + requests as u64)
    }

    /// How many requests lie between `first` and this one; `None` where it comes before.
    pub fn since(self, first: Seq) -> Option<usize> {
        self.0.checked_sub(first.0).and_then(|requests| usize::try_from(requests).ok())
    }
}

/// Whom one frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    /// A request of the client's.
    Request(Seq),
    /// A question of our own, by the number that its asker gave it: the client never sees the answer.
    Question(u64),
}

impl ReplyTo {
    /// The request or question this many further on.
    #[must_use]
    pub fn plus(self, requests: u32) -> ReplyTo {
        match self {
            ReplyTo::Request(seq) => ReplyTo::Request(seq.plus(requests as usize)),
            ReplyTo::Question(number) => ReplyTo::Question(number + u64::from(requests)),
        }
    }
}

/// The replies expected for bytes that were queued in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Owed {
    /// One frame for each of consecutive requests, or questions, and `more` for the first of them.
    Each { first: ReplyTo, requests: u32, more: u32 },
    /// All frames belong to one.
    All { to: ReplyTo, frames: u32 },
}

impl Owed {
    /// One frame for each of `requests` requests, starting with this one.
    pub fn each(first: Seq, requests: u32) -> Owed {
        Owed::Each { first: ReplyTo::Request(first), requests, more: 0 }
    }

    /// The answers to `questions` questions, starting with this number.
    pub fn questions(first: u64, questions: u32) -> Owed {
        Owed::Each { first: ReplyTo::Question(first), requests: questions, more: 0 }
    }

    /// So many frames for one request.
    pub fn request(seq: Seq, frames: u32) -> Owed {
        Owed::All { to: ReplyTo::Request(seq), frames }
    }

    /// An answer to whoever asks nothing else on this connection.
    pub fn answer() -> Owed {
        Owed::questions(0, 1)
    }

    /// No frame at all.
    pub fn nothing() -> Owed {
        Owed::All { to: ReplyTo::Question(0), frames: 0 }
    }

    /// Frames still to come.
    pub fn frames(self) -> u32 {
        match self {
            Owed::Each { requests, more, .. } => requests + more,
            Owed::All { frames, .. } => frames,
        }
    }

    /// Of them those that a client waits for, and not the proxy itself.
    pub fn replies(self) -> u32 {
        match self.next() {
            ReplyTo::Request(_) => self.frames(),
            ReplyTo::Question(_) => 0,
        }
    }

    /// Whom the next frame belongs to.
    pub fn next(self) -> ReplyTo {
        match self {
            Owed::Each { first, .. } => first,
            Owed::All { to, .. } => to,
        }
    }

    /// The next frame has arrived; its request turned out to have `further` more.
    pub fn came(&mut self, further: u32) {
        match self {
            Owed::All { frames, .. } => *frames = (*frames + further).saturating_sub(1),
            Owed::Each { first, requests, more } => match *more + further {
                0 => (*first, *requests) = (first.plus(1), requests.saturating_sub(1)),
                left => *more = left - 1,
            },
        }
    }

    /// So many whole replies have come, one for each request.
    pub fn came_plain(&mut self, replies: u32) {
        match self {
            Owed::Each { first, requests, .. } => {
                (*first, *requests) = (first.plus(replies), requests.saturating_sub(replies));
            }
            Owed::All { frames, .. } => *frames = frames.saturating_sub(replies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_waits_for_an_answer_to_a_question_of_our_own() {
        assert_eq!([Owed::each(Seq::default(), 3), Owed::request(Seq::default(), 2)].map(Owed::replies), [3, 2]);
        assert_eq!([Owed::questions(7, 3), Owed::answer(), Owed::nothing()].map(Owed::replies), [0; 3]);
    }

    #[test]
    fn each_frame_belongs_to_the_next_request_and_further_ones_to_the_same() {
        let first = Seq::default();
        let mut owed = Owed::each(first, 3);
        let mut belongs = Vec::new();
        for further in [0, 2, 0, 0, 0] {
            let ReplyTo::Request(seq) = owed.next() else { panic!("a request's") };
            belongs.push(seq.since(first));
            owed.came(further);
        }
        assert_eq!(belongs, [0, 1, 1, 1, 2].map(Some));
        assert_eq!(owed.frames(), 0);
    }

    #[test]
    fn all_frames_of_a_transaction_belong_to_one_request() {
        let mut owed = Owed::request(Seq::default().plus(7), 3);
        owed.came(0);
        assert_eq!((owed.frames(), owed.next()), (2, ReplyTo::Request(Seq(7))));
    }
}
