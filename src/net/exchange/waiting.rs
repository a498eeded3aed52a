//! What a client's task waits for besides the client's input, and until when.

use std::time::Instant;

/// What a client's task waits for.
///
/// ```text
///          a lease goes back after its last reply
///        .----------------------------------------> Release --- nothing is owed, or the lease is gone ----.
///        |                                                                                                |
///        |  a command must not overtake what was sent before it                                           |
///   Input ----------------------------------------> Drained --- nothing is owed, or `until` has passed ---|
///     ^  |                                                                                                |
///     |  |  a group was sent that may be sent again                                                       |
///     |  |----------------------------------------> Resolved -- every such group has been answered -------|
///     |  |                                                                                                |
///     |  |  the client has sent its last                                                                  |
///     |  '----------------------------------------> Leaving                                               |
///     '---------------------------------------------------------------------------------------------------'
/// ```
///
/// Where nothing is owed, no group can be sent again: `Drained` ends no earlier than `Resolved`. Reading goes on in every
/// state, as far as there is room for what is read; whether there is room again is asked for apart from the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// Nothing but the client's bytes.
    #[default]
    Input,
    /// The same, and its own connection goes back as soon as nothing is owed on it.
    Release,
    /// Nothing is owed to the client any more.
    Drained {
        /// From then on late replies alone are waited for no longer: they may never come.
        until: Instant,
        /// The client sends nothing more: with each reply it may turn out that it waits for nobody.
        input_ended: bool,
    },
    /// No group that may be sent again is unanswered.
    Resolved,
    /// Each reply may be the client's last.
    Leaving,
}

/// What is owed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owing {
    /// Replies that the client waits for.
    pub replies: bool,
    /// Replies to what was answered with a timeout.
    pub late: bool,
    /// A group is unanswered that may be sent again.
    pub fenced: bool,
}

impl Waiting {
    /// True when the client's task can go on.
    pub fn is_over(self, owing: Owing, now: Instant) -> bool {
        let is_drained = !owing.replies && !owing.late;
        match self {
            Waiting::Input | Waiting::Leaving => false,
            Waiting::Release => is_drained,
            // What is still waited for has a deadline of its own, or blocks for as long as its client likes.
            Waiting::Drained { until, .. } => is_drained || !owing.replies && now >= until,
            Waiting::Resolved => !owing.fenced,
        }
    }

    /// True when the task looks at each reply.
    pub fn is_for_each_reply(self) -> bool {
        matches!(self, Waiting::Leaving | Waiting::Drained { input_ended: true, .. })
    }

    /// True when the task does nothing for the client before the replies have come: they are kept, however much the client
    /// is behind.
    pub fn is_for_replies(self) -> bool {
        matches!(self, Waiting::Drained { .. } | Waiting::Resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOTHING: Owing = Owing { replies: false, late: false, fenced: false };
    const REPLIES: Owing = Owing { replies: true, ..NOTHING };
    const LATE: Owing = Owing { late: true, ..NOTHING };

    #[test]
    fn the_fence_ends_when_nothing_is_owed() {
        let now = Instant::now();
        let drained = Waiting::Drained { until: now + Duration::from_secs(1), input_ended: false };
        assert!(drained.is_over(NOTHING, now));
        assert!(!drained.is_over(REPLIES, now) && !drained.is_over(LATE, now));
    }

    #[test]
    fn late_replies_alone_are_waited_for_up_to_the_deadline_only() {
        let until = Instant::now();
        let (just_before, drained) = (until - Duration::from_nanos(1), Waiting::Drained { until, input_ended: false });
        assert!(!drained.is_over(LATE, just_before) && drained.is_over(LATE, until));
        let both = Owing { late: true, ..REPLIES };
        assert!(!drained.is_over(both, until), "what blocks may take as long as it likes");
    }

    #[test]
    fn a_lease_goes_back_only_when_nothing_is_owed_on_it() {
        let now = Instant::now();
        assert!(Waiting::Release.is_over(NOTHING, now));
        assert!(!Waiting::Release.is_over(LATE, now) && !Waiting::Release.is_over(REPLIES, now));
    }

    #[test]
    fn behind_a_group_that_may_be_sent_again_only_its_answer_counts() {
        let now = Instant::now();
        assert!(Waiting::Resolved.is_over(REPLIES, now));
        assert!(!Waiting::Resolved.is_over(Owing { fenced: true, ..REPLIES }, now));
    }

    #[test]
    fn who_waits_for_the_clients_bytes_is_not_ended_by_replies() {
        let now = Instant::now();
        for waiting in [Waiting::Input, Waiting::Leaving] {
            assert!([NOTHING, REPLIES, LATE].iter().all(|owing| !waiting.is_over(*owing, now)));
        }
        assert!(!Waiting::Input.is_for_each_reply() && Waiting::Leaving.is_for_each_reply());
    }

    #[test]
    fn replies_are_kept_for_a_task_that_waits_for_them() {
        let drained = Waiting::Drained { until: Instant::now(), input_ended: true };
        assert!(drained.is_for_replies() && drained.is_for_each_reply() && Waiting::Resolved.is_for_replies());
        assert!(![Waiting::Input, Waiting::Release, Waiting::Leaving].iter().any(|waiting| waiting.is_for_replies()));
    }
}
