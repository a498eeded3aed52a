//! What has already been done for the batch that is planned next, so that nothing is done twice.

use std::cell::Cell;
use std::time::{Duration, Instant};

use respguard_engine::lazy::Lazy;

/// For one batch, from when it is first looked at until it is planned.
#[derive(Debug, Default)]
pub(super) struct Preparation(Lazy<Done>);

#[derive(Debug, Default)]
struct Done {
    /// The connection has been asked whether it can carry guarded groups.
    asked_ability: Cell<bool>,
    /// Since when that has been asked, on whatever connection.
    asked_since: Cell<Option<Instant>>,
    /// What has been asked about the user's rights, one bit for each question.
    asked_rights: Cell<u8>,
    /// It has been waited for that the upstream connection is opened for the first time.
    awaited_opening: Cell<bool>,
    /// There is no connection for this client alone.
    goes_with_others: Cell<bool>,
    /// When the batch began to wait for something that its client did not ask for.
    waits_since: Cell<Option<Instant>>,
}

impl Done {
    fn is_nothing(&self) -> bool {
        let has_asked = self.asked_ability.get() || self.asked_since.get().is_some() || self.asked_rights.get() != 0;
        let has_waited = self.awaited_opening.get() || self.waits_since.get().is_some();
        !has_asked && !has_waited && !self.goes_with_others.get()
    }
}

impl Preparation {
    /// True when nothing has been done for the batch.
    #[inline]
    pub(super) fn is_blank(&self) -> bool {
        self.0.get().is_none_or(Done::is_nothing)
    }

    /// True once: the connection is to be asked whether it can carry guarded groups.
    pub(super) fn begins_to_ask_ability(&self) -> bool {
        !self.0.make().asked_ability.replace(true)
    }

    /// The client goes on over another connection, which is asked too, as long as what waits for the answer may wait.
    pub(super) fn change_connection(&self, longest: Duration, now: Instant) {
        if let Some(done) = self.0.get() {
            let may_ask = done.asked_since.get().is_none_or(|since| now < since + longest);
            done.asked_ability.set(!may_ask);
        }
    }

    /// How long the answer may still take: all connections together have `longest`.
    pub(super) fn left_for_ability(&self, longest: Duration, now: Instant) -> Duration {
        let done = self.0.make();
        let since = done.asked_since.get().unwrap_or(now);
        done.asked_since.set(Some(since));
        longest.saturating_sub(now.saturating_duration_since(since))
    }

    /// Nothing more is to be known of the connection.
    pub(super) fn end_abilities(&self) {
        if let Some(done) = self.0.get() {
            done.asked_ability.set(false);
            done.asked_since.set(None);
        }
    }

    /// Whether a right has been asked about.
    pub(super) fn has_asked_permission(&self, bit: u8) -> bool {
        self.0.get().is_some_and(|done| done.asked_rights.get() & bit != 0)
    }

    /// It is asked about now.
    pub(super) fn ask_permission(&self, bit: u8) {
        let asked = &self.0.make().asked_rights;
        asked.set(asked.get() | bit);
    }

    /// Nothing more is to be known of the user.
    pub(super) fn end_permissions(&self) {
        if let Some(done) = self.0.get() {
            done.asked_rights.set(0);
        }
    }

    /// True once, until the connection has been opened: its opening is to be waited for.
    pub(super) fn begins_to_await_opening(&self) -> bool {
        !self.0.make().awaited_opening.replace(true)
    }

    /// The connection has been opened.
    pub(super) fn forget_opening(&self) {
        if let Some(done) = self.0.get() {
            done.awaited_opening.set(false);
        }
    }

    /// It goes with those of others until it is planned: there is no connection for this client alone, or it may not use one.
    pub(super) fn go_with_others(&self) {
        self.0.make().goes_with_others.set(true);
    }

    /// True when it does.
    pub(super) fn goes_with_others(&self) -> bool {
        self.0.get().is_some_and(|done| done.goes_with_others.get())
    }

    /// The batch is planned now: for what of it is left, a connection of its own may be taken again.
    pub(super) fn end_going_with_others(&self) {
        if let Some(done) = self.0.get() {
            done.goes_with_others.set(false);
        }
    }

    /// The time since then counts for the batch, or since an earlier wait for it.
    pub(super) fn count_wait_since(&self, since: Instant) {
        let waits_since = &self.0.make().waits_since;
        waits_since.set(Some(waits_since.get().map_or(since, |before| before.min(since))));
    }

    /// The same, unless that is `longest` ago: so long only a client is waited for that does not read what it is owed.
    pub(super) fn count_short_wait(&self, since: Instant, longest: Duration, now: Instant) {
        if now.saturating_duration_since(since) < longest {
            self.count_wait_since(since);
        }
    }

    /// All that has waited has been sent.
    pub(super) fn end_wait(&self) {
        if let Some(done) = self.0.get() {
            done.waits_since.set(None);
        }
    }

    /// When the batch was read, or began to wait.
    pub(super) fn take_read_at(&self, now: Instant) -> Instant {
        self.0.get().and_then(|done| done.waits_since.take()).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(300);

    #[test]
    fn a_connection_is_asked_once_and_another_one_while_there_is_time() {
        let (preparation, now) = (Preparation::default(), Instant::now());
        assert!(preparation.begins_to_ask_ability() && !preparation.begins_to_ask_ability());
        assert_eq!(preparation.left_for_ability(LONGEST, now), LONGEST);
        let later = now + LONGEST / 3;
        preparation.change_connection(LONGEST, later);
        assert!(preparation.begins_to_ask_ability());
        assert_eq!(preparation.left_for_ability(LONGEST, later), LONGEST - LONGEST / 3, "they have the time together");
        preparation.change_connection(LONGEST, now + LONGEST);
        assert!(!preparation.begins_to_ask_ability(), "the time is over");
        preparation.end_abilities();
        assert!(preparation.begins_to_ask_ability());
        assert_eq!(preparation.left_for_ability(LONGEST, now + LONGEST), LONGEST);
    }

    #[test]
    fn each_right_is_asked_about_once() {
        let preparation = Preparation::default();
        preparation.ask_permission(2);
        assert!(preparation.has_asked_permission(2) && !preparation.has_asked_permission(1));
        preparation.end_permissions();
        assert!(!preparation.has_asked_permission(2));
    }

    #[test]
    fn what_was_waited_for_counts_for_one_batch() {
        let (preparation, now) = (Preparation::default(), Instant::now());
        assert!(preparation.is_blank());
        preparation.count_wait_since(now);
        assert!(!preparation.is_blank());
        let later = now + LONGEST;
        assert_eq!((preparation.take_read_at(later), preparation.take_read_at(later)), (now, later));
    }

    #[test]
    fn a_batch_goes_with_others_until_it_is_planned_whatever_is_asked_first() {
        let (preparation, now) = (Preparation::default(), Instant::now());
        preparation.go_with_others();
        assert!(!preparation.is_blank());
        assert!(preparation.begins_to_ask_ability() && preparation.left_for_ability(LONGEST, now) == LONGEST);
        preparation.end_abilities();
        assert!(preparation.goes_with_others());
        preparation.end_going_with_others();
        assert!(!preparation.goes_with_others() && preparation.is_blank());
    }

    #[test]
    fn of_several_waits_for_one_batch_the_first_counts_and_none_for_what_comes_later() {
        let (preparation, now) = (Preparation::default(), Instant::now());
        [LONGEST, Duration::ZERO, LONGEST * 2].iter().for_each(|later| preparation.count_wait_since(now + *later));
        assert_eq!(preparation.take_read_at(now + LONGEST * 3), now);
        preparation.count_wait_since(now);
        preparation.end_wait();
        assert_eq!(preparation.take_read_at(now + LONGEST), now + LONGEST);
        preparation.count_short_wait(now, LONGEST, now + LONGEST);
        assert_eq!(preparation.take_read_at(now + LONGEST), now + LONGEST);
        preparation.count_short_wait(now, LONGEST, now + LONGEST / 2);
        assert_eq!(preparation.take_read_at(now + LONGEST / 2), now);
    }

    #[test]
    fn an_opening_is_waited_for_once() {
        let preparation = Preparation::default();
        assert!(preparation.begins_to_await_opening() && !preparation.begins_to_await_opening());
        preparation.forget_opening();
        assert!(preparation.begins_to_await_opening());
    }
}
