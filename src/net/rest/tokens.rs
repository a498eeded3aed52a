//! Who may send requests: bearers of tokens or, without any, this machine.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, Uri};
use hyper::StatusCode;

use super::path;
use crate::net::origin::{bearer, is_equal, is_from_this_machine};
use respguard_engine::command::Login;

/// Upstash's own text.
const WRONG_TOKEN: &str = "WRONGPASS invalid or missing auth token";
const FOREIGN: &str = "ERR respguard: without [rest] tokens this is only for requests to a loopback address, and not for other \
    sites' pages";

/// One token, and what it stands for.
pub struct Token {
    pub name: Arc<str>,
    /// What its requests are called where a client's address is shown.
    pub peer: Arc<str>,
    secret: Box<[u8]>,
    /// It may only read.
    pub read_only: bool,
    /// The server's user that it acts for; without one the one that the proxy acts for by itself.
    pub login: Option<Login>,
}

impl Token {
    /// One that is opened by this secret.
    pub fn new(name: &str, secret: &str, read_only: bool, login: Option<Login>) -> Token {
        let peer = format!("rest:{name}").into();
        Token { name: name.into(), peer, secret: secret.as_bytes().into(), read_only, login }
    }

    /// Whoever is on this machine.
    fn anonymous() -> Token {
        Token { name: "".into(), peer: "rest".into(), secret: Box::default(), read_only: false, login: None }
    }
}

impl fmt::Debug for Token {
    /// Without what it opens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("read_only", &self.read_only).finish_non_exhaustive()
    }
}

/// Everybody who may send requests.
#[derive(Debug)]
pub enum Tokens {
    /// The bearers of these, by their places.
    Bearers(Vec<Token>),
    /// Whoever is on this machine, with everything that the proxy may.
    Local {
        anonymous: Token,
        /// A unix socket, which no web page reaches.
        is_unix: bool,
    },
}

impl Tokens {
    /// These, or this machine where there are none.
    pub fn new(tokens: Vec<Token>, is_unix: bool) -> Tokens {
        if !tokens.is_empty() {
            return Tokens::Bearers(tokens);
        }
        Tokens::Local { anonymous: Token::anonymous(), is_unix }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Tokens::Bearers(tokens) => tokens.len(),
            Tokens::Local { .. } => 1,
        }
    }

    /// The token at this place.
    pub fn get(&self, place: usize) -> &Token {
        match self {
            Tokens::Bearers(tokens) => &tokens[place],
            Tokens::Local { anonymous, .. } => anonymous,
        }
    }

    /// The place of the token that a request shows. How long that takes tells nothing about any of them.
    ///
    /// # Errors
    /// The request is not let in: what it is answered.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<usize, (StatusCode, &'static str)> {
        match self {
            Tokens::Local { is_unix, .. } => {
                let is_local = *is_unix || is_from_this_machine(uri, headers);
                if is_local { Ok(0) } else { Err((StatusCode::FORBIDDEN, FOREIGN)) }
            }
            Tokens::Bearers(tokens) => {
                let in_query = if bearer(headers).is_none() { path::token(uri.query()) } else { None };
                let offered = bearer(headers).or(in_query.as_deref()).unwrap_or_default();
                let mut found = None;
                for (place, token) in tokens.iter().enumerate() {
                    if is_equal(offered, &token.secret) {
                        found = Some(place);
                    }
                }
                found.ok_or((StatusCode::UNAUTHORIZED, WRONG_TOKEN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str) -> Token {
        Token::new(name, secret, false, None)
    }

    fn admit(tokens: &Tokens, uri: &'static str, headers: &[(&'static str, &str)]) -> Result<usize, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        tokens.admit(&Uri::from_static(uri), &map).map_err(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_token_is_taken_from_the_header_or_the_query() {
        let tokens = Tokens::new(vec![token("app", "one"), token("reader", "two")], false);
        assert_eq!(admit(&tokens, "/", &[("authorization", "Bearer one")]), Ok(0));
        assert_eq!(admit(&tokens, "/", &[("authorization", "bearer two")]), Ok(1));
        assert_eq!(admit(&tokens, "/get/k?x=1&_token=two", &[]), Ok(1));
        for (uri, header) in
            [("/", "Bearer three"), ("/", "Bearer "), ("/", "Basic one"), ("/?_token=one", "Bearer x"), ("/?_token=", "x")]
        {
            assert_eq!(admit(&tokens, uri, &[("authorization", header), ("host", "localhost")]), Err(401), "{uri} {header}");
        }
        assert_eq!(admit(&tokens, "/", &[("host", "localhost")]), Err(401));
        assert!(!format!("{tokens:?}").contains("one"));
    }

    #[test]
    fn without_tokens_only_this_machine_is_let_in() {
        let tokens = Tokens::new(Vec::new(), false);
        assert_eq!(admit(&tokens, "/flushall", &[("host", "127.0.0.1:8079")]), Ok(0));
        for headers in [
            &[("host", "evil.example")][..],
            &[],
            &[("host", "127.0.0.1:8079"), ("origin", "http://evil.example")],
            &[("host", "127.0.0.1:8079"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(admit(&tokens, "/flushall", headers), Err(403), "{headers:?}");
        }
        assert_eq!(admit(&Tokens::new(Vec::new(), true), "/", &[]), Ok(0), "no page reaches a unix socket");
    }
}
