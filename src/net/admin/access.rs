//! Access control for endpoints that change something or show keys.

use std::fmt;
use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::net::http::problem;
use crate::net::origin::{bearer, is_equal, is_from_this_machine};

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
    fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        let message = match self {
            Access::Token(token) => {
                let is_right = bearer(headers).is_some_and(|given| is_equal(given, token.as_bytes()));
                return (!is_right).then(unauthorized);
            }
            Access::Loopback if is_from_this_machine(uri, headers) => return None,
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
    match access.refusal(request.uri(), request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn unauthorized() -> Response {
    let refused = problem(StatusCode::UNAUTHORIZED, "the bearer token of [admin] token_env is wanted", &[]);
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(access: &Access, headers: &[(&'static str, &str)]) -> Result<(), u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        access.refusal(&Uri::from_static("/"), &map).map_or(Ok(()), |response| Err(response.status().as_u16()))
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
            assert_eq!(admits(&access, &[("host", host), ("sec-fetch-site", "cross-site")]), Err(403), "{host}");
        }
        for host in ["evil.example:9121", "localhost.evil.example", "10.0.0.1", ""] {
            assert_eq!(admits(&access, &[("host", host)]), Err(403), "{host}");
        }
        assert_eq!(admits(&access, &[]), Err(403));
    }
}
