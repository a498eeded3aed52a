//! Commands that a client's batch has cut, on their way to its connection.

use std::ops::Range;

use respguard_engine::command::CommandId;
use respguard_engine::pipeline::batch::Batch;
use respguard_resp::request::Args;

/// Some of the commands of a batch, one behind the other, as they came.
#[derive(Debug, Clone)]
pub struct Commands<'a> {
    pub batch: &'a Batch,
    /// What the batch has cut.
    pub bytes: &'a [u8],
    pub range: Range<usize>,
}

impl<'a> Commands<'a> {
    /// Their bytes.
    pub fn wire(&self) -> &'a [u8] {
        &self.bytes[self.batch.wire(self.range.clone())]
    }

    /// Where in these bytes each lies, which it is, and its arguments.
    pub fn each(&self) -> impl Iterator<Item = (Range<usize>, CommandId, Args<'a>)> {
        let Commands { batch, bytes, .. } = *self;
        let begin = batch.wire(self.range.clone()).start;
        self.range.clone().map(move |at| {
            let place = batch.wire(at..at + 1);
            (place.start - begin..place.end - begin, batch.id(at), batch.args(bytes, at))
        })
    }
}
