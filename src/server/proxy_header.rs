//! The PROXY protocol: the header in which a load balancer names the client's address.
//!
//! Both versions are read, as the load balancer chooses
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How long a header may take.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections whose header has not come yet; beyond, no further one is accepted.
pub(super) const HEADERS_MAX: usize = 1024;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const TEXT: &[u8] = b"PROXY ";
/// A header of version 1 with its end, at the most.
const TEXT_BYTES_MAX: usize = 107;
/// What stands behind the first 16 bytes of version 2: addresses, and what we have no use for.
const BEHIND_BYTES_MAX: u16 = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// The client's address, and the one that it connected to.
    Addresses(SocketAddr, SocketAddr),
    /// The load balancer itself has connected, or it does not know for whom.
    Nothing,
}

/// Takes the header off a connection, and no byte behind it.
///
/// # Errors
/// It does not come in time, or what comes is none.
pub(super) async fn take(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxyHeader> {
    match timeout(HEADER_TIMEOUT, read(stream)).await {
        Ok(header) => header,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxyHeader> {
    // No header is shorter.
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = u16::from_be_bytes([head[2], head[3]]);
        if length > BEHIND_BYTES_MAX {
            return Err(wrong());
        }
        let mut behind = vec![0; length.into()];
        stream.read_exact(&mut behind).await?;
        return binary([head[0], head[1]], &behind).ok_or_else(wrong);
    }
    if !begin.starts_with(TEXT) {
        return Err(wrong());
    }
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == TEXT_BYTES_MAX {
            return Err(wrong());
        }
        line.push(stream.read_u8().await?);
    }
    text(&line[..line.len() - 2]).ok_or_else(wrong)
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not begin with a PROXY protocol header")
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.
fn text(line: &[u8]) -> Option<ProxyHeader> {
    let words: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let address = |text: &str, port: &str| {
        let address: IpAddr = match words[1] {
            "TCP4" => text.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => text.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        Some(SocketAddr::new(address, port.parse().ok().filter(|_| is_number)?))
    };
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(ProxyHeader::Nothing),
        ["PROXY", _, from, to, from_port, to_port] => {
            Some(ProxyHeader::Addresses(address(from, from_port)?, address(to, to_port)?))
        }
        _ => None,
    }
}

/// Version 2: the version with the command, the family with the transport, and what they announce.
fn binary([version, family]: [u8; 2], behind: &[u8]) -> Option<ProxyHeader> {
    let ports = |at: usize| {
        let port = |at: usize| Some(u16::from_be_bytes([*behind.get(at)?, *behind.get(at + 1)?]));
        Some((port(at)?, port(at + 2)?))
    };
    match (version, family >> 4) {
        // A health check of the load balancer's own.
        (0x20, _) => Some(ProxyHeader::Nothing),
        (0x21, 1) => {
            let ip = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(behind.get(at..at + 4)?).ok()?));
            let (from, to) = ports(8)?;
            Some(ProxyHeader::Addresses((ip(0)?, from).into(), (ip(4)?, to).into()))
        }
        (0x21, 2) => {
            let ip = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(behind.get(at..at + 16)?).ok()?));
            let (from, to) = ports(32)?;
            Some(ProxyHeader::Addresses((ip(0)?, from).into(), (ip(16)?, to).into()))
        }
        // Unspecified, or a unix socket, of which there is nothing to say.
        (0x21, 0 | 3) => Some(ProxyHeader::Nothing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(bytes: &[u8]) -> (Option<ProxyHeader>, usize) {
        let mut rest = bytes;
        let header = read(&mut rest).await.ok();
        (header, rest.len())
    }

    fn addresses(from: &str, to: &str) -> Option<ProxyHeader> {
        Some(ProxyHeader::Addresses(from.parse().expect("an address"), to.parse().expect("an address")))
    }

    fn version_2(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
        let length = u16::try_from(behind.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, behind, b"PING\r\n"].concat()
    }

    #[tokio::test]
    async fn version_1_is_read_to_its_end_and_not_further() {
        let v4 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 6379\r\nPING\r\n";
        assert_eq!(taken(v4).await, (addresses("192.0.2.1:56324", "192.0.2.2:6379"), 6));
        let v6 = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        assert_eq!(taken(v6).await, (addresses("[2001:db8::1]:1", "[::1]:65535"), 0));
        assert_eq!(taken(b"PROXY UNKNOWN\r\nX").await, (Some(ProxyHeader::Nothing), 1));
        assert_eq!(taken(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n").await.0, Some(ProxyHeader::Nothing));
    }

    #[tokio::test]
    async fn version_2_is_read_with_what_it_has_no_use_for() {
        let v4 = [&[192, 0, 2, 1, 192, 0, 2, 2], &56324_u16.to_be_bytes()[..], &6379_u16.to_be_bytes(), b"\x03\0\x01x"].concat();
        assert_eq!(taken(&version_2(0x21, 0x11, &v4)).await, (addresses("192.0.2.1:56324", "192.0.2.2:6379"), 6));
        let v6 = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 7, 0, 8]].concat();
        assert_eq!(taken(&version_2(0x21, 0x21, &v6)).await, (addresses("[::1]:7", "[::2]:8"), 6));
        for (command, family, behind) in [(0x20, 0x11, &v4[..]), (0x20, 0, b""), (0x21, 0, b""), (0x21, 0x31, &[0; 216])] {
            assert_eq!(taken(&version_2(command, family, behind)).await, (Some(ProxyHeader::Nothing), 6), "{command} {family}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
        for wrong in [
            &b"*1\r\n$4\r\nPING\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 1\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 1",
            &long,
            &version_2(0x21, 0x11, b"short"),
            &version_2(0x31, 0x11, &[0; 12]),
            &version_2(0x22, 0x11, &[0; 12]),
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
            b"",
        ] {
            assert_eq!(taken(wrong).await.0, None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for_long() {
        let (mut near, _far) = tokio::io::duplex(64);
        assert_eq!(take(&mut near).await.expect_err("too late").kind(), io::ErrorKind::TimedOut);
    }
}
