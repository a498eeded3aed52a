//! The head of a request: endpoint, allowed methods, and response format.

use axum::http::{HeaderMap, Method};

use super::events::Feed;
use super::path;
use super::replies::Format;
use super::text::Encoding;
use crate::telemetry::label::RestEndpoint;

const ENCODING: &str = "upstash-encoding";
/// The second is how Upstash's own documentation spells it in its examples.
const RESPONSE_FORMAT: [&str; 2] = ["upstash-response-format", "upstash-reponse-format"];
const RETRY: &str = "upstash-telemetry-retry";

/// The endpoint of a path; what is no other is a command.
pub fn endpoint(path: &str) -> RestEndpoint {
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default();
    let is = |name: &str| first.eq_ignore_ascii_case(name);
    match () {
        () if is("pipeline") => RestEndpoint::Pipeline,
        () if is("multi-exec") => RestEndpoint::MultiExec,
        () if is("subscribe") => RestEndpoint::Subscribe,
        () if is("psubscribe") => RestEndpoint::Psubscribe,
        () if is("monitor") => RestEndpoint::Monitor,
        () => RestEndpoint::Command,
    }
}

/// What an endpoint listens to, if it is one of those, and the names in its path.
pub fn feed(endpoint: RestEndpoint, path: &str) -> Option<(Feed, Vec<Vec<u8>>)> {
    let names = || path::segments(path).skip(1).filter(|name| !name.is_empty()).collect();
    match endpoint {
        RestEndpoint::Subscribe => Some((Feed::Channels, names())),
        RestEndpoint::Psubscribe => Some((Feed::Patterns, names())),
        RestEndpoint::Monitor => Some((Feed::Monitor, Vec::new())),
        RestEndpoint::Command | RestEndpoint::Pipeline | RestEndpoint::MultiExec => None,
    }
}

/// The methods that an endpoint takes, as `Allow` lists them.
pub fn methods(endpoint: RestEndpoint) -> &'static str {
    match endpoint {
        RestEndpoint::Command => "HEAD, GET, POST, PUT",
        RestEndpoint::Pipeline | RestEndpoint::MultiExec => "POST, PUT",
        RestEndpoint::Subscribe | RestEndpoint::Psubscribe | RestEndpoint::Monitor => "GET, POST, PUT",
    }
}

/// Whether an endpoint takes this method.
pub fn takes(endpoint: RestEndpoint, method: &Method) -> bool {
    match *method {
        Method::POST | Method::PUT => true,
        Method::GET => !matches!(endpoint, RestEndpoint::Pipeline | RestEndpoint::MultiExec),
        Method::HEAD => endpoint == RestEndpoint::Command,
        _ => false,
    }
}

/// Whether a request's headers say anything that only this protocol knows. Looking for each of them takes longer.
fn has_own_headers(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("upstash-"))
}

/// How the answer is to be written.
///
/// # Errors
/// What is wrong with the headers.
pub fn format(endpoint: RestEndpoint, headers: &HeaderMap) -> Result<Format, &'static str> {
    if !has_own_headers(headers) {
        return Ok(Format::Json(Encoding::Text));
    }
    let is_base64 = headers.get(ENCODING).is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"base64"));
    let written = RESPONSE_FORMAT.iter().find_map(|name| headers.get(*name)).map_or(&b"json"[..], |format| format.as_bytes());
    if written.eq_ignore_ascii_case(b"json") {
        return Ok(Format::Json(if is_base64 { Encoding::Base64 } else { Encoding::Text }));
    }
    if !written.eq_ignore_ascii_case(b"resp2") {
        return Err("ERR respguard: Upstash-Response-Format is json or resp2");
    }
    if is_base64 {
        return Err("ERR respguard: Upstash-Encoding: base64 cannot go with Upstash-Response-Format: resp2");
    }
    if endpoint == RestEndpoint::MultiExec {
        return Err("ERR respguard: /multi-exec has no Upstash-Response-Format: resp2");
    }
    Ok(Format::Resp2)
}

/// Whether a client says that it has sent this before.
pub fn is_resent(headers: &HeaderMap) -> bool {
    let retry = if has_own_headers(headers) { headers.get(RETRY) } else { None };
    retry.and_then(|retry| retry.to_str().ok()?.trim().parse::<u64>().ok()).is_some_and(|retry| retry > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_endpoint_of_its_own_is_a_command() {
        for (path, wanted) in [
            ("/", RestEndpoint::Command),
            ("/get/k", RestEndpoint::Command),
            ("/publish/c/m", RestEndpoint::Command),
            ("/pipelines", RestEndpoint::Command),
            ("/pipeline", RestEndpoint::Pipeline),
            ("/pipeline/", RestEndpoint::Pipeline),
            ("/multi-exec", RestEndpoint::MultiExec),
            ("/SUBSCRIBE/c", RestEndpoint::Subscribe),
            ("/psubscribe/c*", RestEndpoint::Psubscribe),
            ("/monitor", RestEndpoint::Monitor),
        ] {
            assert_eq!(endpoint(path), wanted, "{path}");
        }
        let (feed, names) = feed(RestEndpoint::Subscribe, "/subscribe/a%2Fb/c/").expect("it listens");
        assert_eq!((feed, names), (Feed::Channels, vec![b"a/b".to_vec(), b"c".to_vec()]));
    }

    #[test]
    fn an_endpoint_takes_the_methods_that_it_says_it_takes() {
        for endpoint in [
            RestEndpoint::Command,
            RestEndpoint::Pipeline,
            RestEndpoint::MultiExec,
            RestEndpoint::Subscribe,
            RestEndpoint::Psubscribe,
            RestEndpoint::Monitor,
        ] {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
                let is_said = methods(endpoint).split(", ").any(|known| known == method.as_str());
                assert_eq!(takes(endpoint, &method), is_said, "{method} {endpoint:?}");
            }
        }
    }

    #[test]
    fn formats_exclude_each_other() {
        let asked = |headers: &[(&'static str, &'static str)], endpoint| {
            let headers = headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
            format(endpoint, &headers.collect())
        };
        let command = RestEndpoint::Command;
        assert_eq!(asked(&[], command), Ok(Format::Json(Encoding::Text)));
        assert_eq!(asked(&[(ENCODING, "base64")], command), Ok(Format::Json(Encoding::Base64)));
        assert_eq!(asked(&[(RESPONSE_FORMAT[0], "resp2")], command), Ok(Format::Resp2));
        assert_eq!(asked(&[(RESPONSE_FORMAT[1], "RESP2")], command), Ok(Format::Resp2));
        assert!(asked(&[(RESPONSE_FORMAT[0], "xml")], command).is_err());
        assert!(asked(&[(RESPONSE_FORMAT[0], "resp2"), (ENCODING, "base64")], command).is_err());
        assert!(asked(&[(RESPONSE_FORMAT[0], "resp2")], RestEndpoint::MultiExec).is_err());
    }
}
