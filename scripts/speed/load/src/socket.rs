//! What a client talks over: a socket, with or without TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::event::Source;
use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Does not block once it is made.
pub struct Socket {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// TLS 1.3 with one suite, so that every way has the same work to do, to servers that this file's authority vouches for.
pub fn tls(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("a good one");
    let provider = rustls::crypto::CryptoProvider { cipher_suites: vec![TLS13_AES_128_GCM_SHA256], ..ring::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13]);
    Arc::new(builder.expect("a version that ring has").with_root_certificates(roots).with_no_client_auth())
}

impl Socket {
    /// `hello` is one exchange over a connection that blocks, before the clock runs.
    pub fn over(mut stream: std::net::TcpStream, tls: Option<&Arc<ClientConfig>>, hello: fn(&mut dyn Both)) -> Socket {
        let mut tls = tls.map(|config| {
            let name = ServerName::try_from("localhost").expect("a name");
            Box::new(ClientConnection::new(Arc::clone(config), name).expect("a client"))
        });
        match &mut tls {
            None => hello(&mut stream),
            Some(tls) => hello(&mut rustls::Stream::new(&mut **tls, &mut stream)),
        }
        stream.set_nonblocking(true).expect("set");
        Socket { stream: TcpStream::from_std(stream), tls }
    }

    /// What is polled.
    pub fn source(&mut self) -> &mut impl Source {
        &mut self.stream
    }
}

/// Reads and writes.
pub trait Both: Read + Write {}

impl<T: Read + Write> Both for T {}

impl Read for Socket {
    /// Reads until the buffer is full or nothing more is there.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(buffer) };
        let mut filled = 0;
        loop {
            match tls.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => match tls.read_tls(&mut self.stream) {
                    Ok(0) => return Ok(filled),
                    Ok(_) => {
                        tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Socket {
    /// Writes all or, where the socket has no room for it, fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
