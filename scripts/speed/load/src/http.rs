//! As much of HTTP/1.1 as answers of a known length need.

use crate::socket::Both;

/// A request with a body, as an SDK sends it.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// Asks for a key that is not there, and reads the whole answer.
pub fn hello(stream: &mut dyn Both) {
    stream.write_all(&get("/GET/nothing")).expect("written");
    let mut came = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).expect("answered");
        assert!(read > 0, "the connection was closed");
        came.extend_from_slice(&piece[..read]);
        if body_begins(&came).is_some_and(|begins| came.len() - begins >= content_length(&came[..begins])) {
            return;
        }
    }
}

/// What counts of what has come: over HTTP what follows the head, once that is whole.
pub fn body(came: &[u8], is_http: bool) -> Option<&[u8]> {
    if is_http { body_begins(came).map(|begins| &came[begins..]) } else { Some(came) }
}

pub fn body_begins(came: &[u8]) -> Option<usize> {
    came.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Panics where the head says none, and where the status is not 200.
pub fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let named = head.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = { named }.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).expect("a length");
    length.parse().expect("a number")
}
