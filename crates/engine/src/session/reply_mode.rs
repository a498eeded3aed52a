//! Which replies a client wants to see: CLIENT REPLY (<https://redis.io/docs/latest/commands/client-reply/>).
//!
//! The server is never told. It answers everything, so that rules hold, and what the client does not want is dropped here.

use respguard_resp::request::Args;

/// What becomes of the replies to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// The client gets them.
    #[default]
    On,
    /// It gets none.
    Off,
    /// It does not get the next one.
    SkipNext,
}

impl ReplyMode {
    /// What the command asks for; `None` where Redis refuses it.
    pub fn read(args: Args<'_>) -> Option<ReplyMode> {
        let word = args.get(2).filter(|_| args.len() == 3)?;
        let is = |mode: &str| word.eq_ignore_ascii_case(mode.as_bytes());
        match () {
            () if is("ON") => Some(ReplyMode::On),
            () if is("OFF") => Some(ReplyMode::Off),
            () if is("SKIP") => Some(ReplyMode::SkipNext),
            () => None,
        }
    }

    /// The mode behind a command that asks for `wanted`. Where all replies are off none is skipped.
    pub fn after(self, wanted: ReplyMode) -> ReplyMode {
        match (self, wanted) {
            (ReplyMode::Off, ReplyMode::SkipNext) => ReplyMode::Off,
            (_, wanted) => wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReplyMode::{Off, On, SkipNext};

    #[test]
    fn nothing_is_skipped_while_all_is_off() {
        assert_eq!(Off.after(SkipNext), Off);
        assert_eq!([On.after(SkipNext), SkipNext.after(Off), Off.after(On), SkipNext.after(On)], [SkipNext, Off, On, On]);
    }
}
