//! The replies of a cluster node that does not serve a request now. Nothing of the request was applied.

/// The servers' own text for keys of which some have left.
const TRY_AGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";
/// The same for a cluster that does not serve the slot, or nothing.
const DOWN: [&str; 3] = [
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN The cluster is down and only accepts read commands",
    "CLUSTERDOWN Hash slot not served",
];

/// Such an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Redirect<'a> {
    /// The slot is this node's.
    Moved { slot: u16, host: &'a str, port: u16 },
    /// The slot is on its way there: this request goes to that node, behind ASKING, and the next one comes here again.
    Ask { slot: u16, host: &'a str, port: u16 },
    /// Some keys of the request are here and others have left.
    TryAgain,
    /// The node does not know of enough others.
    Down,
}

impl<'a> Redirect<'a> {
    /// Reads an error frame; `None` for every other error. A script may invent any error, and has run then: only a node's own
    /// words are taken for a redirect, and only of a slot of the request's own, or of any where that is not known.
    pub fn read(frame: &'a [u8], own: Option<u16>) -> Option<Redirect<'a>> {
        let text = std::str::from_utf8(frame.strip_prefix(b"-")?.strip_suffix(b"\r\n")?).ok()?;
        if text == TRY_AGAIN {
            return Some(Redirect::TryAgain);
        }
        if DOWN.contains(&text) {
            return Some(Redirect::Down);
        }
        let (token, rest) = text.split_once(' ')?;
        match token {
            "MOVED" | "ASK" => {
                let (slot, address) = rest.split_once(' ')?;
                let slot = slot.parse().ok().filter(|slot| own.is_none_or(|own| own == *slot))?;
                let (host, port) = address.rsplit_once(':')?;
                let port = port.parse().ok()?;
                Some(if token == "ASK" { Redirect::Ask { slot, host, port } } else { Redirect::Moved { slot, host, port } })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read_with_their_slot_and_address() {
        let (slot, port) = (12182, 7002);
        assert_eq!(
            Redirect::read(b"-MOVED 12182 127.0.0.1:7002\r\n", Some(slot)),
            Some(Redirect::Moved { slot, host: "127.0.0.1", port })
        );
        assert_eq!(Redirect::read(b"-ASK 12182 ::1:7002\r\n", None), Some(Redirect::Ask { slot, host: "::1", port }));
        assert_eq!(Redirect::read(b"-MOVED 12182 :7002\r\n", None), Some(Redirect::Moved { slot, host: "", port }));
        let try_again = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
        assert_eq!(Redirect::read(try_again, Some(1)), Some(Redirect::TryAgain));
        assert_eq!(Redirect::read(b"-CLUSTERDOWN The cluster is down\r\n", None), Some(Redirect::Down));
        assert_eq!(Redirect::read(b"-CLUSTERDOWN Hash slot not served\r\n", Some(1)), Some(Redirect::Down));
    }

    #[test]
    fn what_a_script_says_in_its_own_words_is_no_redirect() {
        for text in
            ["TRYAGAIN the lock is held", "CLUSTERDOWN no", "CLUSTERDOWN The cluster is down script: ab, on @user_script:1."]
        {
            assert_eq!(Redirect::read(format!("-{text}\r\n").as_bytes(), Some(2)), None, "{text}");
        }
    }

    #[test]
    fn another_slot_than_that_of_the_request_is_no_redirect() {
        for frame in
            [&b"-MOVED 1 h:1\r\n"[..], b"-MOVED one h:1\r\n", b"-MOVED\r\n", b"-ERR MOVED 2 h:1\r\n", b"+MOVED 2 h:1\r\n"]
        {
            assert_eq!(Redirect::read(frame, Some(2)), None, "{}", frame.escape_ascii());
        }
    }
}
