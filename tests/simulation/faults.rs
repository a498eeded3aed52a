//! What goes wrong in a simulation, and how often.

use std::time::Duration;

/// How often something goes wrong; probabilities are in thousandths.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A connection is cut at a byte of what it receives, or of what it sends.
    pub cut_in: u32,
    pub cut_out: u32,
    /// The longest way before a cut.
    pub cut_bytes_max: usize,
    /// A piece is late by up to `late_max`.
    pub late: u32,
    pub late_max: Duration,
    /// A request takes up to `late_max` to execute.
    pub slow: u32,
    /// A write is refused for want of memory.
    pub refuse: u32,
    /// The longest piece; 0: as long as it comes.
    pub piece_max: usize,
    /// Pauses between failovers, if there are any.
    pub failover: Option<Duration>,
    /// What a failover undoes at the most.
    pub undone_max: usize,
    /// A frame that nobody asked for on a RESP3 connection, behind a reply.
    pub junk: u32,
    /// Pauses between slots that move, primaries that die, and nodes that hang, before a cluster.
    pub moves: Option<Duration>,
    pub deaths: Option<Duration>,
    pub stalls: Option<Duration>,
}

impl Faults {
    /// Nothing goes wrong, at the worst something is a little late.
    pub fn is_none(&self) -> bool {
        let lossless = self.cut_in + self.cut_out + self.slow + self.refuse + self.junk == 0;
        let is_there = self.failover.is_none() && self.deaths.is_none() && self.stalls.is_none();
        lossless && is_there && self.late_max <= Duration::from_millis(5)
    }
}
