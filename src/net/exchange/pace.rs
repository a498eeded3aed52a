//! How fast a client reads its replies.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a client may read nothing while others wait behind it and no more can be kept, before it is closed.
const PRESSED_GRACE: Duration = Duration::from_millis(25);
/// How long it may read nothing while others need the room that its replies take.
const UNREAD_MAX: Duration = Duration::from_secs(3);
/// How long it may keep them waiting by reading slowly.
const HEAD_OF_LINE_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Pace {
    /// When the client last read something, or had nothing to read.
    progress_at: Cell<Instant>,
    /// When it last sent something.
    sent_at: Cell<Instant>,
    /// Since when more waits for it than it is read on for.
    behind_since: Cell<Option<Instant>>,
    /// Everything was written.
    caught_up: Cell<bool>,
    /// The upstream is not read from because the client is behind.
    holds_up: Cell<bool>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace {
            progress_at: Cell::new(now),
            sent_at: Cell::new(now),
            behind_since: Cell::new(None),
            caught_up: Cell::new(true),
            holds_up: Cell::new(false),
        }
    }

    /// It has sent something.
    pub(super) fn note_sent(&self, now: Instant) {
        self.sent_at.set(now);
    }

    /// When it last sent or read something.
    pub(super) fn last_active(&self) -> Instant {
        self.sent_at.get().max(self.progress_at.get())
    }

    /// There is something to be written to it.
    #[inline]
    pub(super) fn begin_to_write(&self, now: impl FnOnce() -> Instant) {
        if self.caught_up.replace(false) {
            self.progress_at.set(now());
        }
    }

    /// It has taken some of it.
    pub(super) fn advance(&self, now: Instant) {
        self.progress_at.set(now);
    }

    /// It has taken all.
    pub(super) fn catch_up(&self) {
        self.caught_up.set(true);
    }

    #[inline]
    pub(super) fn has_caught_up(&self) -> bool {
        self.caught_up.get()
    }

    /// Whether more waits for it than it is read on for; if so, for how long.
    pub(super) fn note_behind(&self, is_behind: bool, now: impl FnOnce() -> Instant) -> Option<Duration> {
        self.holds_up.set(is_behind);
        if !is_behind {
            self.behind_since.set(None);
            return None;
        }
        let now = now();
        let since = self.behind_since.get().unwrap_or(now);
        self.behind_since.set(Some(since));
        Some(now.saturating_duration_since(since))
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind_since.get().is_some()
    }

    /// True once when the upstream is not read from because of it.
    pub(super) fn take_held_up(&self) -> bool {
        self.holds_up.take()
    }

    /// It is behind, and has read nothing for so long that others who need room come first.
    pub(super) fn has_long_read_nothing(&self, now: Instant) -> bool {
        self.is_behind() && now.saturating_duration_since(self.progress_at.get()) >= UNREAD_MAX
    }

    /// It reads nothing, or has kept others waiting for long.
    pub(super) fn is_too_slow(&self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_awaited_long = self.behind_since.get().is_some_and(|at| since(at) >= HEAD_OF_LINE_MAX);
        since(self.progress_at.get()) >= PRESSED_GRACE || is_awaited_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUST: Duration = Duration::from_nanos(1);

    #[test]
    fn the_time_behind_begins_once_and_ends_when_it_is_not_any_more() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let pace = Pace::new(start);
        assert_eq!(pace.note_behind(true, || start), Some(Duration::ZERO));
        assert_eq!(pace.note_behind(true, || start + second), Some(second));
        assert_eq!((pace.note_behind(false, || start), pace.is_behind()), (None, false));
        assert_eq!(pace.note_behind(true, || start + second), Some(Duration::ZERO));
    }

    #[test]
    fn the_upstream_is_let_through_once() {
        let pace = Pace::new(Instant::now());
        pace.note_behind(true, Instant::now);
        assert!(pace.take_held_up() && !pace.take_held_up());
    }

    #[test]
    fn who_reads_nothing_is_too_slow_sooner_than_who_reads_slowly() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert!(!pace.is_too_slow(start + PRESSED_GRACE - JUST) && pace.is_too_slow(start + PRESSED_GRACE));
        pace.note_behind(true, || start);
        let before = start + HEAD_OF_LINE_MAX - JUST;
        pace.advance(before);
        assert!(!pace.is_too_slow(before) && pace.is_too_slow(start + HEAD_OF_LINE_MAX));
    }

    #[test]
    fn who_has_read_nothing_for_long_and_is_behind_stands_still() {
        let start = Instant::now();
        let (pace, later) = (Pace::new(start), start + UNREAD_MAX);
        assert!(!pace.has_long_read_nothing(later), "nothing waits for it");
        pace.note_behind(true, || start);
        assert!(pace.has_long_read_nothing(later) && !pace.has_long_read_nothing(later - JUST));
        pace.advance(later - JUST);
        assert!(!pace.has_long_read_nothing(later));
    }

    #[test]
    fn the_time_in_which_there_was_nothing_to_read_does_not_count() {
        let (start, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        let pace = Pace::new(start);
        pace.begin_to_write(|| later);
        assert!(!pace.has_caught_up() && !pace.is_too_slow(later));
        pace.begin_to_write(|| later + PRESSED_GRACE);
        assert!(pace.is_too_slow(later + PRESSED_GRACE), "it has not taken what came before");
        pace.catch_up();
        assert!(pace.has_caught_up());
    }

    #[test]
    fn it_is_active_when_it_sends_and_when_it_reads() {
        let start = Instant::now();
        let pace = Pace::new(start);
        pace.note_sent(start + JUST);
        assert_eq!(pace.last_active(), start + JUST);
        pace.advance(start + 2 * JUST);
        assert_eq!(pace.last_active(), start + 2 * JUST);
    }
}
