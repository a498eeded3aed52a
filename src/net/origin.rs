//! Who sends an HTTP request: the bearer of a token, this machine, or a web page in a browser on this machine.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Uri, header};
use subtle::ConstantTimeEq as _;

/// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The token of `Authorization: Bearer` (RFC 6750).
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Takes as long for a wrong guess as for a right one: the length of what is offered alone decides.
pub fn is_equal(offered: &[u8], wanted: &[u8]) -> bool {
    let of_one_length = offered.len().ct_eq(&wanted.len());
    offered.iter().zip(wanted.iter().cycle()).fold(of_one_length, |same, (byte, wanted)| same & byte.ct_eq(wanted)).into()
}

/// The host that a request is for: HTTP/2 has it in the address.
pub fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => Some(uri.authority()?.as_str()),
    }
}

/// A web page that a browser on this machine shows can send requests here too, be it under a name of its own that
/// it lets point to 127.0.0.1: the host must be this machine's, and the page, where there is one, from the same host.
pub fn is_from_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(host) = host(uri, headers) else { return false };
    let is_own_page = match headers.get(header::ORIGIN).map(|origin| origin.to_str()) {
        None => true,
        Some(origin) => {
            let origin = origin.ok().and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(scheme, origin)| matches!(scheme, "http" | "https") && origin == host)
        }
    };
    let is_foreign_site = headers.get(&FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none");
    is_own_page && !is_foreign_site && is_this_machine(host)
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

    fn is_local(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        is_from_this_machine(&Uri::from_static("/"), &map)
    }

    #[test]
    fn only_equal_tokens_are_equal() {
        assert!(is_equal(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret1", b"Secret", b"secretsecret"] {
            assert!(!is_equal(wrong, b"secret"), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn pages_of_other_sites_are_told_by_what_browsers_say() {
        for host in ["127.0.0.1:8079", "[::1]:8079", "LOCALHOST"] {
            assert!(is_local(&[("host", host)]));
            for site in ["same-origin", "none"] {
                assert!(is_local(&[("host", host), ("sec-fetch-site", site)]), "{site}");
            }
            for site in ["cross-site", "same-site", "x"] {
                assert!(!is_local(&[("host", host), ("sec-fetch-site", site)]), "{site}");
            }
            assert!(is_local(&[("host", host), ("origin", &format!("https://{host}"))]));
            for origin in ["http://evil.example", "null", "file://", "http://"] {
                assert!(!is_local(&[("host", host), ("origin", origin)]), "{origin}");
            }
        }
        assert!(!is_local(&[("host", "localhost.evil.example")]) && !is_local(&[]));
    }

    #[test]
    fn over_http_2_the_host_is_in_the_address() {
        let none = HeaderMap::new();
        assert!(is_from_this_machine(&Uri::from_static("http://localhost:1/get/k"), &none));
        assert!(!is_from_this_machine(&Uri::from_static("http://evil.example/get/k"), &none));
    }
}
