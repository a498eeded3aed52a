//! Two equal servers, one of them behind the proxy: whatever is sent, the same must come back.

use super::{Proxy, RedisServer, Setup, Wire, request, text};

/// The servers and the proxy.
pub struct Twin {
    pub direct: RedisServer,
    pub behind: RedisServer,
    pub proxy: Proxy,
}

/// One client of each side.
pub struct Pair {
    pub direct: Wire,
    pub proxied: Wire,
}

impl Twin {
    /// A proxy with these rules.
    pub fn start(rules: &str) -> Twin {
        Twin::with(&[], |setup| setup.rules(rules))
    }

    /// Servers with these arguments, a proxy set up so.
    pub fn with(arguments: &[&str], set_up: impl FnOnce(Setup) -> Setup) -> Twin {
        let direct = RedisServer::start(arguments);
        let behind = RedisServer::start(arguments);
        let proxy = set_up(Setup::new(&behind)).start();
        Twin { direct, behind, proxy }
    }

    /// A client of each.
    pub fn pair(&self) -> Pair {
        Pair { direct: self.direct.wire(), proxied: self.proxy.wire() }
    }

    /// What each side says to a client that sends the bytes and then its end.
    pub fn ends_of(&self, bytes: &[u8]) -> [String; 2] {
        let Pair { direct, proxied } = self.pair();
        [direct, proxied].map(|mut wire| {
            wire.send(bytes);
            wire.finish_sending();
            text(&wire.until_closed())
        })
    }

    /// A client of each that speaks RESP3.
    pub fn pair3(&self) -> Pair {
        let mut pair = self.pair();
        for wire in [&mut pair.direct, &mut pair.proxied] {
            assert!(wire.ask("HELLO 3").starts_with("%7\r\n"));
        }
        pair
    }
}

impl Pair {
    /// Sends the bytes to both and compares so many replies.
    #[track_caller]
    pub fn same(&mut self, bytes: &[u8], replies: usize) -> Vec<Vec<u8>> {
        self.direct.send(bytes);
        self.proxied.send(bytes);
        self.same_replies(bytes, replies)
    }

    /// Sends the bytes to both and compares so many replies: the pushes among them, and what is none.
    #[track_caller]
    pub fn same_apart_from_pushes(&mut self, bytes: &[u8], replies: usize) {
        let ask = |wire: &mut Wire| {
            wire.send(bytes);
            let texts = wire.replies(replies).into_iter().map(|reply| text(&reply));
            texts.partition::<Vec<_>, _>(|reply| reply.starts_with('>'))
        };
        assert_eq!(ask(&mut self.direct), ask(&mut self.proxied), "after {:?}", excerpt(bytes));
    }

    /// Sends one command line to both and compares the reply.
    #[track_caller]
    pub fn same_line(&mut self, line: &str) -> String {
        text(&self.same(&request(line), 1)[0])
    }

    /// Compares so many replies to what both were sent.
    #[track_caller]
    pub fn same_replies(&mut self, about: &[u8], replies: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::with_capacity(replies);
        for place in 0..replies {
            let (direct, proxied) = (self.direct.reply(), self.proxied.reply());
            assert!(
                direct == proxied,
                "reply {place} to {:?}\n  Redis: {:?}\n  proxy: {:?}",
                excerpt(about),
                excerpt(&direct),
                excerpt(&proxied)
            );
            all.push(direct);
        }
        all
    }

    /// Sends the bytes to both; both must say the same and close.
    #[track_caller]
    pub fn same_end(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.direct.send(bytes);
        self.proxied.send(bytes);
        let direct = self.direct.until_closed();
        let proxied = self.proxied.until_closed();
        assert_eq!(text(&direct), text(&proxied), "after {:?}", excerpt(bytes));
        direct
    }
}

fn excerpt(bytes: &[u8]) -> String {
    text(&bytes[..bytes.len().min(400)])
}
