//! Parses addresses: `host:port` or `unix:/path`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A TCP or Unix-domain address, as it is written in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// The host is a name or an address, IPv6 without its brackets; port 0 lets the system choose where one listens.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it. Of names, only `localhost` is known to be local.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(address) => address.to_canonical().is_loopback(),
                Err(_) => host.eq_ignore_ascii_case("localhost"),
            },
        }
    }
}

/// The text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address")]
pub struct AddressError(String);

impl AddressError {
    /// What an address looks like, for error messages.
    pub const EXPECTED: &str = "host:port such as \"127.0.0.1:6379\" or \"[::1]:6379\", or unix:/path";
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = match text.strip_prefix("unix:") {
            Some(path) => unix(path),
            None => tcp(text),
        };
        address.ok_or_else(|| AddressError(text.to_owned()))
    }
}

/// Socket paths are absolute, so that they do not depend on where the program was started.
fn unix(path: &str) -> Option<Address> {
    (path.len() > 1 && path.starts_with('/') && !path.contains('\0')).then(|| Address::Unix(path.into()))
}

fn tcp(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits)?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => ipv6(bracketed.strip_suffix(']')?)?,
        None => host_name(host)?,
    };
    Some(Address::Tcp { host: host.to_owned(), port })
}

fn ipv6(host: &str) -> Option<&str> {
    matches!(host.parse(), Ok(IpAddr::V6(_))).then_some(host)
}

fn host_name(host: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(plain)).then_some(host)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_prints_as_it_is_written() {
        for text in ["127.0.0.1:6379", "[::1]:6379", "redis.example:0", "localhost:65535", "unix:/run/redis.sock"] {
            assert_eq!(address(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let texts = [
            "",
            ":",
            "host",
            "host:",
            ":6379",
            "host:65536",
            "host:+1",
            "host:x",
            "::1:6379",
            "[::1]",
            "[::1:6379",
            "[host]:1",
            "a b:1",
            "unix:",
            "unix:/",
            "unix:relative",
            "http://host:1",
            "redis://host:1",
        ];
        for text in texts {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_reaches_a_loopback_address() {
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "LocalHost:1", "unix:/s"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1", "redis:1", "128.0.0.1:1"] {
            assert!(!address(text).is_loopback(), "{text}");
        }
    }
}
