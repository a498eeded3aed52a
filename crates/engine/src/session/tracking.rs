//! The state of CLIENT TRACKING, and the client ids in the server's messages about it.

use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// Client-side caching on the client's own connection (<https://redis.io/docs/latest/commands/client-tracking/>).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tracking {
    /// It is on.
    pub on: bool,
    /// BCAST: for all keys with some prefixes, not only for those that were read.
    pub broadcast: bool,
    /// Where invalidations go, if not to the client itself.
    pub redirect: Option<Redirect>,
}

/// Where invalidations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The id that the client has with the proxy.
    pub client: u64,
    /// The id that its connection has at the server.
    pub upstream: i64,
}

impl Tracking {
    /// What CLIENT TRACKING with these words has made of it; `upstream` is the server's id for the client named there.
    pub fn of(words: &[impl AsRef<[u8]>], upstream: Option<i64>) -> Tracking {
        let is = |at: usize, name: &[u8]| words.get(at).is_some_and(|word| word.as_ref().eq_ignore_ascii_case(name));
        if !is(2, b"ON") {
            return Tracking::default();
        }
        let redirect = redirect_place(words).and_then(|at| crate::command::integer::integer(words[at].as_ref()));
        let client = redirect.and_then(|client| u64::try_from(client).ok());
        Tracking {
            on: true,
            broadcast: (3..words.len()).any(|at| is(at, b"BCAST")),
            redirect: client.zip(upstream).map(|(client, upstream)| Redirect { client, upstream }),
        }
    }

    /// The frame, with the proxy's id of a client in the place of the server's.
    pub fn translate(&self, frame: &[u8], out: &mut Vec<u8>) {
        let named = self.redirect.and_then(|redirect| Some((redirect, named(frame)?)));
        let Some((redirect, id)) = named.filter(|(redirect, id)| value::integer(id) == Some(redirect.upstream)) else {
            return out.extend_from_slice(frame);
        };
        let start = id.as_ptr() as usize - frame.as_ptr() as usize;
        out.extend_from_slice(&frame[..start]);
        encode::integer(out, i64::try_from(redirect.client).unwrap_or(i64::MAX));
        out.extend_from_slice(&frame[start + id.len()..]);
    }
}

/// The place of the id behind REDIRECT among the words of CLIENT TRACKING.
pub fn redirect_place(words: &[impl AsRef<[u8]>]) -> Option<usize> {
    let mut at = 3;
    while at < words.len() {
        let word = words[at].as_ref();
        if word.eq_ignore_ascii_case(b"REDIRECT") {
            return (at + 1 < words.len()).then_some(at + 1);
        }
        at += if word.eq_ignore_ascii_case(b"PREFIX") { 2 } else { 1 };
    }
    None
}

/// The id of a client in the answer to CLIENT GETREDIR or TRACKINGINFO, or in the push that tells that it has gone.
fn named(frame: &[u8]) -> Option<&[u8]> {
    match frame.first()? {
        b':' => Some(frame),
        b'>' => {
            let mut parts = elements(frame);
            let is_told = parts.next().and_then(value::bulk) == Some(b"tracking-redir-broken");
            parts.next().filter(|_| is_told)
        }
        b'*' | b'%' => {
            let mut parts = elements(frame);
            while let Some(key) = parts.next() {
                let value = parts.next()?;
                if value::bulk(key) == Some(b"redirect") {
                    return Some(value);
                }
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn a_prefix_that_is_called_redirect_is_none() {
        assert_eq!(redirect_place(&words("CLIENT TRACKING ON PREFIX REDIRECT BCAST redirect 7")), Some(7));
        assert_eq!(redirect_place(&words("CLIENT TRACKING ON REDIRECT")), None);
    }

    #[test]
    fn the_servers_id_is_told_as_the_proxys_wherever_it_stands() {
        let tracking = Tracking::of(&words("CLIENT TRACKING ON REDIRECT 7"), Some(41));
        let told = |frame: &[u8]| {
            let mut out = Vec::new();
            tracking.translate(frame, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(told(b":41\r\n"), ":7\r\n");
        assert_eq!(told(b":0\r\n"), ":0\r\n");
        assert_eq!(
            told(b"*4\r\n$5\r\nflags\r\n*0\r\n$8\r\nredirect\r\n:41\r\n"),
            "*4\r\n$5\r\nflags\r\n*0\r\n$8\r\nredirect\r\n:7\r\n"
        );
        assert_eq!(told(b">2\r\n$21\r\ntracking-redir-broken\r\n:41\r\n"), ">2\r\n$21\r\ntracking-redir-broken\r\n:7\r\n");
        assert_eq!(told(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
    }

    #[test]
    fn off_ends_it() {
        assert_eq!(Tracking::of(&words("CLIENT TRACKING OFF"), None), Tracking::default());
    }
}
