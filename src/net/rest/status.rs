//! The HTTP status of an error, and whether to retry.

use hyper::StatusCode;

/// What servers say of a state that passes (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
const PASSING: [&[u8]; 4] = [b"LOADING", b"MASTERDOWN", b"CLUSTERDOWN", b"TRYAGAIN"];

/// The status of a single command's error. In a pipeline errors are elements, and the status is 200.
pub fn of_error(text: &[u8]) -> StatusCode {
    let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_own = memchr::memmem::find(text, b" respguard: ").is_some();
    if code == b"TIMEOUT" && is_own {
        StatusCode::GATEWAY_TIMEOUT
    } else if PASSING.contains(&code) || is_own && memchr::memmem::find(text, b" was not sent: ").is_some() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// In how many seconds it is worth trying again.
pub fn retry_after(status: StatusCode) -> Option<u64> {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_command_are_400_and_those_of_the_server_tell_that_they_pass() {
        for (text, status) in [
            ("ERR wrong number of arguments for 'get' command", 400),
            ("WRONGTYPE Operation against a key", 400),
            ("NOSCRIPT No matching script.", 400),
            ("EXECABORT Transaction discarded because of previous errors. respguard: group g was not applied: x", 400),
            ("ERR respguard: set is refused by guard g: x", 400),
            ("TIMEOUT respguard: outcome of set unknown: no reply", 504),
            ("TIMEOUT of another kind", 400),
            ("ERR respguard: get was not sent: the server is unavailable", 503),
            ("LOADING Redis is loading the dataset in memory", 503),
            ("", 400),
        ] {
            assert_eq!(of_error(text.as_bytes()).as_u16(), status, "{text}");
        }
        assert_eq!(retry_after(StatusCode::SERVICE_UNAVAILABLE), Some(1));
        assert_eq!(retry_after(StatusCode::BAD_REQUEST), None);
    }
}
