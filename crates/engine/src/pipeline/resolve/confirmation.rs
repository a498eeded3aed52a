//! Counts the confirmations of one subscription command: its reply is one frame per channel.

use crate::pipeline::slot::Role;
use crate::session::subscription::Subscriptions;
use respguard_resp::value;

/// Takes one confirmation; true when it was the last. `more` is how many frames turned out to follow.
pub(super) fn admit(role: &mut Role, frame: &[u8], subscriptions: &mut Subscriptions, more: &mut u32) -> bool {
    if value::is_error(frame) {
        // Redis refuses the whole command with one error.
        subscriptions.answered();
        return true;
    }
    let (frames, confirmed) = match *role {
        Role::UnsubscribeAll(kind) => (subscriptions.confirmations(kind), 0),
        Role::Subscription { frames, confirmed } => (frames, confirmed),
        _ => (1, 0),
    };
    // An error would have stood for all of them.
    if confirmed == 0 {
        *more = frames - 1;
    }
    subscriptions.confirm(frame);
    *role = Role::Subscription { frames, confirmed: confirmed + 1 };
    if confirmed + 1 < frames {
        return false;
    }
    subscriptions.answered();
    true
}
