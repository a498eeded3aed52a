//! Feeds a recording to a learner.

use super::format::{Entry, Event};
use respguard_engine::learn::Learner;

/// What one entry teaches; entries of one client come in their order.
pub fn learn_from(learner: &mut Learner, entry: &Entry) {
    match &entry.event {
        Event::Client { .. } => {}
        Event::Read(bytes) => learner.read(entry.client, entry.at, bytes),
        Event::Lost(bytes) => learner.lost(entry.client, *bytes),
        Event::Left => learner.left(entry.client),
    }
}
