//! Lets reads go out behind a transaction that is not answered yet.

use super::Planner;
use crate::command::RetryClass;
use crate::pipeline::reads_ahead::ReadAhead;
use crate::pipeline::slot::Role;
use respguard_resp::encode;

impl Planner<'_> {
    /// Lets the reads from `at` on go out that no rule is about; gives the place of the first other command.
    pub(super) fn pass_reads_ahead(&mut self, mut at: usize) -> usize {
        if !self.reads_ahead || !self.undecided.is_empty() || self.is_bound() {
            return at;
        }
        while at < self.batch.len() && self.passes(at) && self.spec(at).retry == RetryClass::Read {
            let args: Vec<&[u8]> = self.args(at).iter().collect();
            let request = encode::request_frame(&args);
            self.plan.roles.push(Role::ReadAhead(Box::new(ReadAhead { request, is_void: false })));
            at += 1;
        }
        at
    }
}
