//! Subscriptions of an explained client, as if the server confirmed each.

use respguard_engine::command::Table;
use respguard_engine::pipeline::batch::Batch;
use respguard_engine::pipeline::plan::Plan;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::session::Session;
use respguard_resp::encode;

/// What the server will have confirmed when all is answered.
#[derive(Default)]
pub(super) struct Subscribing {
    commands: usize,
    confirmations: Vec<Vec<u8>>,
    /// Every name that was ever subscribed to.
    names: Vec<Box<[u8]>>,
}

impl Subscribing {
    /// Takes the (un)subscribe commands that a plan sends.
    pub(super) fn note(&mut self, plan: &Plan, batch: &Batch, bytes: &[u8], table: &Table) {
        for (at, role) in plan.roles.iter().enumerate() {
            let args = batch.args(bytes, at);
            let word = table.spec(batch.id(at)).name();
            match role {
                Role::Subscription { .. } => {
                    self.names.extend(args.from(1).iter().map(Box::from));
                    self.confirmations.extend(args.from(1).iter().map(|name| confirmation(word, name)));
                }
                Role::UnsubscribeAll(_) => self.confirmations.extend(self.names.iter().map(|name| confirmation(word, name))),
                _ => continue,
            }
            self.commands += 1;
        }
    }

    pub(super) fn settle(&mut self, session: &mut Session) {
        self.confirmations.drain(..).for_each(|frame| session.subscriptions.confirm(&frame));
        (0..std::mem::take(&mut self.commands)).for_each(|_| session.subscriptions.answered());
    }
}

/// What the server sends about one name; how many are left does not matter here
/// (<https://redis.io/docs/latest/develop/pubsub/>).
fn confirmation(word: &str, name: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::array_header(&mut frame, 3);
    encode::bulk(&mut frame, word.as_bytes());
    encode::bulk(&mut frame, name);
    encode::integer(&mut frame, 0);
    frame
}
