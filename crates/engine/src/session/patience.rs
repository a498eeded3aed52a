//! Whether it is worth waiting for the rest of a group on this client's connection.

/// So many times in a row the next member came only after a reply: the client is sequential.
const STRIKES_MAX: u8 = 3;
/// So many times in a row the rest did not come: other commands behind a prefix are no sign of several callers.
const EXPIRIES_MAX: u8 = 8;
/// After so many plans without a wait across other commands one more is worth it: the machine may have been busy.
const PLANS_UNTIL_RETRY: u16 = 256;

/// What has been learnt of one client by waiting for it.
#[derive(Debug, Default)]
pub struct Patience {
    /// The members that went out alone last, for comparison with what comes next.
    expired: Option<Box<Expired>>,
    strikes: u8,
    sequential: bool,
    /// Waits in a row that were in vain.
    in_vain: u8,
    /// Plans since that became too many.
    unwilling_plans: u16,
}

/// A prefix whose rest has not come in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired {
    /// The group's place among the rules.
    pub group: usize,
    /// How many of its members had come.
    pub members: usize,
    /// The members as they were sent.
    pub bytes: Vec<u8>,
}

impl Patience {
    /// True when prefixes are worth waiting with.
    pub fn is_willing(&self) -> bool {
        !self.sequential
    }

    /// True when prefixes are worth waiting with although other commands stand behind them: several callers may share
    /// the connection.
    pub fn is_willing_across(&self) -> bool {
        self.is_willing() && self.in_vain < EXPIRIES_MAX
    }

    /// A prefix goes out alone.
    pub fn expire(&mut self, expired: Expired) {
        self.expired = Some(Box::new(expired));
    }

    /// True while a prefix that went out alone is to be compared with what comes next.
    pub fn has_expired(&self) -> bool {
        self.expired.is_some()
    }

    /// A plan was made; `in_vain` when a wait had ended without the rest, for however many prefixes.
    pub fn note_plan(&mut self, in_vain: bool) {
        self.in_vain = self.in_vain.saturating_add(in_vain.into());
        if self.in_vain >= EXPIRIES_MAX {
            self.unwilling_plans += 1;
        }
        if self.unwilling_plans >= PLANS_UNTIL_RETRY {
            (self.in_vain, self.unwilling_plans) = (EXPIRIES_MAX - 1, 0);
        }
    }

    /// The prefix that went out alone last.
    pub fn last_expired(&mut self) -> Option<Expired> {
        self.expired.take().map(|expired| *expired)
    }

    /// The next member came only after the reply to the one before; true when this makes the client
    /// sequential.
    pub fn strike(&mut self) -> bool {
        self.strikes = self.strikes.saturating_add(1);
        let now_sequential = !self.sequential && self.strikes >= STRIKES_MAX;
        self.sequential |= now_sequential;
        now_sequential
    }

    /// A group came whole: the client is not sequential after all, and waiting is not in vain.
    pub fn forgive(&mut self) {
        (self.strikes, self.sequential, self.in_vain, self.unwilling_plans) = (0, false, 0, 0);
    }
}

/// So many times in a row a transaction is sent again without what was refused of the commands that rode in it.
const REFUSALS_MAX: u8 = 3;

/// Whether commands may go in transactions of groups that they stand in.
#[derive(Debug, Default)]
pub struct Carrying {
    refusals: u8,
}

impl Carrying {
    /// A transaction is answered; `refused` where something that rode in it was.
    pub fn note(&mut self, refused: bool) {
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
    }

    /// False where it has been refused too often in a row.
    pub fn is_willing(&self) -> bool {
        self.refusals < REFUSALS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired() -> Expired {
        Expired { group: 3, members: 2, bytes: b"x".to_vec() }
    }

    #[test]
    fn what_expired_is_told_once() {
        let mut patience = Patience::default();
        assert_eq!(patience.last_expired(), None);
        patience.expire(expired());
        assert_eq!(patience.last_expired(), Some(expired()));
        assert_eq!(patience.last_expired(), None);
    }

    #[test]
    fn the_third_strike_makes_a_client_sequential_and_a_pipeline_forgives() {
        let mut patience = Patience::default();
        assert_eq!([patience.strike(), patience.strike(), patience.strike(), patience.strike()], [false, false, true, false]);
        assert!(!patience.is_willing() && !patience.is_willing_across());
        patience.forgive();
        assert!(patience.is_willing() && !patience.strike());
    }

    #[test]
    fn eight_waits_in_vain_end_those_across_other_commands_alone() {
        let mut patience = Patience::default();
        (0..7).for_each(|_| patience.note_plan(true));
        patience.note_plan(false);
        assert!(patience.is_willing_across());
        patience.note_plan(true);
        assert!(patience.is_willing() && !patience.is_willing_across());
        patience.forgive();
        assert!(patience.is_willing_across());
    }

    #[test]
    fn waiting_across_other_commands_is_tried_again_now_and_then() {
        let mut patience = Patience::default();
        (0..8).for_each(|_| patience.note_plan(true));
        (0..254).for_each(|_| patience.note_plan(false));
        assert!(!patience.is_willing_across());
        patience.note_plan(false);
        assert!(patience.is_willing_across());
        patience.note_plan(true);
        assert!(!patience.is_willing_across(), "once more in vain is enough");
    }
}
