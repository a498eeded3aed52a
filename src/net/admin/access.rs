//! Who may use the endpoints that change something or show keys.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::net::http::problem;

/// What a request needs to be let in.
#[derive(Clone)]
pub enum Access {
    /// This bearer token (RFC 6750).
    Token(Box<str>),
    /// Nothing: only this machine can reach the listener.
    Loopback,
    /// Nobody is let in: anybody could reach the listener.
    Closed,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Token(_) => "Token(***)",
            Access::Loopback => "Loopback",
            Access::Closed => "Closed",
        })
    }
}

impl Access {
    /// What applies to a listener at this address.
    pub fn new(token: Option<&str>, listens: SocketAddr) -> Access {
        match token {
            Some(token) => Access::Token(token.into()),
            None if listens.ip().to_canonical().is_loopback() => Access::Loopback,
            None => Access::Closed,
        }
    }

    /// The answer to a request that is not let in.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let message = match self {
            Access::Token(token) => {
                let is_right = bearer(headers).is_some_and(|given| is_equal(given.as_bytes(), token.as_bytes()));
                return (!is_right).then(unauthorized);
            }
            Access::Loopback if is_from_this_machine(headers) => return None,
            Access::Loopback => {
                "without [admin] token_env this is only for requests to a loopback address, and not for other sites' pages"
            }
            Access::Closed => "this is off: set [admin] token_env, or listen on a loopback address",
        };
        Some(problem(StatusCode::FORBIDDEN, message, &[]))
    }
}

/// Lets a request through to a route that changes something or shows keys, or answers it.
pub async fn admit(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.refusal(request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn unauthorized() -> Response {
    let refused = problem(StatusCode::UNAUTHORIZED, "the bearer token of [admin] token_env is wanted", &[]);
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Takes as long for each wrong token of the right length, so that its bytes cannot be guessed one by one.
fn is_equal(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0, |differing, (a, b)| std::hint::black_box(differing | (a ^ b)));
    given.len() == wanted.len() && differing == 0
}

/// A web page that a browser on this machine shows can send requests here too, be it under a name of its own that
/// it lets point to 127.0.0.1: the host must be this machine's, and the page, where there is one, from the same host.
fn is_from_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let is_own_page = match headers.get(header::ORIGIN).map(|origin| origin.to_str()) {
        None => true,
        Some(origin) => origin.ok().and_then(|origin| origin.strip_prefix("http://")) == Some(host),
    };
    is_own_page && is_this_machine(host)
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(access: &Access, headers: &[(&'static str, &str)]) -> Result<(), u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        access.refusal(&map).map_or(Ok(()), |response| Err(response.status().as_u16()))
    }

    fn access(token: Option<&str>, address: &str) -> Access {
        Access::new(token, address.parse().expect("an address"))
    }

    #[test]
    fn with_a_token_only_the_token_counts() {
        for address in ["127.0.0.1:1", "0.0.0.0:1"] {
            let access = access(Some("secret"), address);
            assert_eq!(admits(&access, &[("authorization", "Bearer secret")]), Ok(()));
            assert_eq!(admits(&access, &[("authorization", "bearer secret")]), Ok(()));
            for wrong in ["Bearer secre", "Bearer secret1", "Bearer Secret", "Bearer ", "Basic secret", "secret"] {
                assert_eq!(admits(&access, &[("authorization", wrong), ("host", "localhost")]), Err(401), "{wrong}");
            }
            assert_eq!(admits(&access, &[("host", "localhost")]), Err(401));
            assert!(!format!("{access:?}").contains("secret"));
        }
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(admits(&access(None, address), &[("host", "localhost:9121")]), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert_eq!(admits(&access(None, address), &[("host", "localhost:9121")]), Err(403), "{address}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_kept_out_where_there_is_no_token() {
        let access = access(None, "127.0.0.1:9121");
        for host in ["127.0.0.1:9121", "[::1]:9121", "LOCALHOST", "127.0.0.1"] {
            assert_eq!(admits(&access, &[("host", host)]), Ok(()), "{host}");
            assert_eq!(admits(&access, &[("host", host), ("origin", &format!("http://{host}"))]), Ok(()), "{host}");
            assert_eq!(admits(&access, &[("host", host), ("origin", "http://evil.example")]), Err(403), "{host}");
            assert_eq!(admits(&access, &[("host", host), ("origin", "null")]), Err(403), "{host}");
        }
        for host in ["evil.example:9121", "localhost.evil.example", "10.0.0.1", ""] {
            assert_eq!(admits(&access, &[("host", host)]), Err(403), "{host}");
        }
        assert_eq!(admits(&access, &[]), Err(403));
    }
}
