//! The replies of a cluster node that does not serve a request now. Nothing of the request was applied.

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
    /// Reads an error frame; `None` for every other error. A script may invent any error: only what a node says of a slot of
    /// the request's own is taken for a redirect, or of any slot where that of the request is not known.
    pub fn read(frame: &'a [u8], own: Option<u16>) -> Option<Redirect<'a>> {
        let text = std::str::from_utf8(frame.strip_prefix(b"-")?.strip_suffix(b"\r\n")?).ok()?;
        let (token, rest) = text.split_once(' ')?;
        match token {
            "MOVED" | "ASK" => {
                let (slot, address) = rest.split_once(' ')?;
                let slot = slot.parse().ok().filter(|slot| own.is_none_or(|own| own == *slot))?;
                let (host, port) = address.rsplit_once(':')?;
                let port = port.parse().ok()?;
                Some(if token == "ASK" { Redirect::Ask { slot, host, port } } else { Redirect::Moved { slot, host, port } })
            }
            "TRYAGAIN" => Some(Redirect::TryAgain),
            "CLUSTERDOWN" => Some(Redirect::Down),
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
        assert_eq!(Redirect::read(b"-TRYAGAIN Multiple keys\r\n", Some(1)), Some(Redirect::TryAgain));
        assert_eq!(Redirect::read(b"-CLUSTERDOWN The cluster is down\r\n", None), Some(Redirect::Down));
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
