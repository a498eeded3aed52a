//! How long a request may block its connection.

use std::time::Duration;

use super::integer::integer;
use respguard_resp::encode;
use respguard_resp::request::Args;

/// Where a command says how long it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// It does not wait.
    Never,
    /// A number of seconds, with a fraction or without, in the last argument.
    SecondsLast,
    /// The same at this place.
    SecondsAt(u8),
    /// Whole milliseconds at this place.
    MillisecondsAt(u8),
    /// It waits, but nobody knows where it says how long.
    Unstated,
    /// Whole milliseconds behind the BLOCK option of XREAD and XREADGROUP; without it there is no waiting.
    BlockOption,
}

/// For how long a request may go unanswered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockFor {
    /// The timeout is zero.
    Forever,
    /// The timeout of the request.
    AtMost(Duration),
}

impl Timeout {
    /// Whether this request asks to wait, however long.
    pub(super) fn waits(self, args: Args<'_>) -> bool {
        match self {
            Timeout::Never => false,
            Timeout::BlockOption => block_option(args).is_some(),
            _ => true,
        }
    }

    /// Where the timeout of this request stands.
    fn place(self, args: Args<'_>) -> Option<usize> {
        match self {
            Timeout::Never | Timeout::Unstated => None,
            Timeout::SecondsLast => args.len().checked_sub(1),
            Timeout::SecondsAt(place) | Timeout::MillisecondsAt(place) => Some(usize::from(place)),
            Timeout::BlockOption => block_option(args),
        }
    }

    /// The request with another timeout, of a millisecond at least; `None` where it says none, or waits for ever.
    pub(super) fn shorten(self, args: Args<'_>, timeout: Duration) -> Option<Vec<u8>> {
        let (place, Some(BlockFor::AtMost(_))) = (self.place(args)?, self.read(args)) else { return None };
        let milliseconds = timeout.as_millis().max(1);
        let text = match self {
            Timeout::SecondsLast | Timeout::SecondsAt(_) => format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000),
            _ => milliseconds.to_string(),
        };
        let words: Vec<&[u8]> =
            args.iter().enumerate().map(|(at, word)| if at == place { text.as_bytes() } else { word }).collect();
        Some(encode::request_frame(&words))
    }

    /// The timeout of this request; `None` when it does not wait or what is written is no timeout.
    pub(super) fn read(self, args: Args<'_>) -> Option<BlockFor> {
        let text = args.get(self.place(args)?)?;
        match self {
            Timeout::SecondsLast | Timeout::SecondsAt(_) => seconds(text),
            _ => milliseconds(text),
        }
    }
}

/// The place of the value of BLOCK among the options in front of STREAMS.
fn block_option(args: Args<'_>) -> Option<usize> {
    let mut i = 1;
    while let Some(word) = args.get(i) {
        let is = |token: &str| word.eq_ignore_ascii_case(token.as_bytes());
        if is("BLOCK") {
            return Some(i + 1);
        }
        i += match () {
            () if is("STREAMS") => return None,
            () if is("GROUP") => 3,
            () if is("COUNT") => 2,
            () => 1,
        };
    }
    None
}

fn seconds(text: &[u8]) -> Option<BlockFor> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    block_for(Duration::try_from_secs_f64(seconds).ok()?)
}

fn milliseconds(text: &[u8]) -> Option<BlockFor> {
    block_for(Duration::from_millis(u64::try_from(integer(text)?).ok()?))
}

fn block_for(timeout: Duration) -> Option<BlockFor> {
    Some(if timeout.is_zero() { BlockFor::Forever } else { BlockFor::AtMost(timeout) })
}
