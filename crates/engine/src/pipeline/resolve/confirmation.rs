//! Counts the confirmations of one command about subscriptions: its reply is one frame for each channel.

use crate::pipeline::slot::{Role, Slots};
use crate::session::subscription::Subscriptions;
use respguard_resp::value;

impl Slots {
    pub(super) fn admit_confirmation(
        &mut self,
        role: Role,
        frame: &[u8],
        subscriptions: &mut Subscriptions,
        more: &mut u32,
    ) -> bool {
        if value::is_error(frame) {
            // Redis refuses the whole command with one error.
            self.confirmed = 0;
            subscriptions.answered();
            return true;
        }
        let frames = match role {
            Role::UnsubscribeAll(kind) => subscriptions.confirmations(kind),
            Role::Subscription { frames } => frames,
            _ => 1,
        };
        // An error would have stood for all of them.
        if self.confirmed == 0 {
            *more = frames - 1;
        }
        if let (Role::UnsubscribeAll(_), Some(head)) = (role, self.queue.front_mut()) {
            head.role = Role::Subscription { frames };
        }
        subscriptions.confirm(frame);
        self.confirmed += 1;
        if self.confirmed < frames {
            return false;
        }
        self.confirmed = 0;
        subscriptions.answered();
        true
    }
}
