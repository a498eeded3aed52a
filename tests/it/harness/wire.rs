//! A blocking client that sees bytes: it sends what it is told and cuts what comes back into frames.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use respguard_resp::encode;
use respguard_resp::scan::{ReplyScanner, ScanLimits};

use super::PATIENCE;
use super::certificates::TlsClient;
use super::socket::Socket;

/// How much it reads at a time.
const READ: usize = 64 * 1024;

/// One connection.
pub struct Wire {
    stream: Socket,
    scanner: ReplyScanner,
    /// What was read: up to `taken` it was given away, and up to `scanned` it belongs to the frame in progress.
    input: Vec<u8>,
    taken: usize,
    scanned: usize,
    patience: Duration,
}

/// A command line as a client library sends it: words separated by spaces, as an array of bulk strings.
pub fn request(line: &str) -> Vec<u8> {
    words(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

/// A request of these words.
pub fn words(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request(&mut out, words);
    out
}

/// Requests of these command lines, one behind the other.
pub fn requests(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| request(line)).collect()
}

/// Bytes as text, for messages and for comparing.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Wire {
    /// Connects to a port of the loopback address.
    pub fn connect(port: u16) -> Wire {
        Wire::over(TcpStream::connect(("127.0.0.1", port)).expect("somebody listens"))
    }

    /// A client over a connection that is there.
    pub fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Wire::with(Socket::Tcp(stream))
    }

    /// Connects to a unix socket.
    pub fn unix(path: &Path) -> Wire {
        Wire::with(Socket::Unix(UnixStream::connect(path).expect("somebody listens")))
    }

    /// Connects with TLS to a port of the loopback address; the handshake comes with the first bytes.
    pub fn tls(port: u16, client: &TlsClient) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Wire::with(Socket::Tls(Box::new(client.over(stream))))
    }

    fn with(stream: Socket) -> Wire {
        let scanner = ReplyScanner::new(ScanLimits::default());
        Wire { stream, scanner, input: Vec::new(), taken: 0, scanned: 0, patience: PATIENCE }
    }

    /// How long it waits for anything.
    pub fn patience(mut self, patience: Duration) -> Wire {
        self.patience = patience;
        self
    }

    /// There is little room in its socket, and it waits so long until the other side takes what it sends.
    pub fn small_buffers(&self, bytes: usize, patience: Duration) {
        self.stream.set_small_buffers(bytes, patience).expect("a socket");
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other side takes bytes");
    }

    /// Sends bytes, unless the other side has closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one command as a client library does.
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(&request(line));
    }

    /// Sends a command and takes its reply, as text.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send_line(line);
        text(&self.reply())
    }

    /// The same for a command whose words may hold anything.
    #[track_caller]
    pub fn ask_words(&mut self, words_of: &[&str]) -> String {
        self.send(&words(&words_of.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()));
        text(&self.reply())
    }

    /// Sends commands in one write and takes one reply for each, as text.
    #[track_caller]
    pub fn pipeline(&mut self, lines: &[&str]) -> Vec<String> {
        self.send(&requests(lines));
        self.replies(lines.len()).iter().map(|reply| text(reply)).collect()
    }

    /// The next whole frame.
    #[track_caller]
    pub fn reply(&mut self) -> Vec<u8> {
        match self.read_frame() {
            Ok(frame) => frame,
            Err(error) => panic!("no reply: {error}; what came: {:?}", text(&self.input[self.taken..])),
        }
    }

    /// So many whole frames.
    #[track_caller]
    pub fn replies(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.reply()).collect()
    }

    /// The next whole frame, unless none comes in time or the connection ends.
    pub fn try_reply(&mut self) -> Option<Vec<u8>> {
        self.frame().ok()
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// None comes in time, or the connection ends.
    pub fn frame(&mut self) -> io::Result<Vec<u8>> {
        self.read_frame()
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub fn until_closed(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.read_some(deadline) {
                Ok(0) => return self.take_input(),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return self.take_input(),
                Err(error) => panic!("not closed: {error}; what came: {:?}", text(&self.input[self.taken..])),
            }
        }
    }

    /// Everything that comes until nothing does for so long, whether it is frames or not.
    pub fn until_silent_for(&mut self, time: Duration) -> Vec<u8> {
        while self.read_some(Instant::now() + time).is_ok_and(|read| read > 0) {}
        self.take_input()
    }

    /// So many bytes, whether they are frames or not; fewer if no more come.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while self.input.len() - self.taken < count && self.read_some(deadline).is_ok_and(|read| read > 0) {}
        self.take_input()
    }

    /// True when nothing comes for so long.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.input.len() == self.taken && self.read_some(Instant::now() + time).is_err()
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&self) {
        self.stream.tcp().shutdown(std::net::Shutdown::Write).expect("connected");
    }

    /// The socket itself, for what is too large to be held.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self.stream.tcp_mut()
    }

    /// The address that the other side sees.
    pub fn local(&self) -> String {
        self.stream.tcp().local_addr().expect("connected").to_string()
    }

    fn read_frame(&mut self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + self.patience;
        loop {
            while self.scanned < self.input.len() {
                let scanned = self.scanner.scan(&self.input[self.scanned..]).map_err(io::Error::other)?;
                self.scanned += scanned.bytes;
                if scanned.end {
                    return Ok(self.take_frame());
                }
            }
            if self.read_some(deadline)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The frame that ends at `scanned`.
    fn take_frame(&mut self) -> Vec<u8> {
        let is_large = self.scanned - self.taken > READ;
        if is_large && self.scanned == self.input.len() {
            return self.take_input();
        }
        let frame = self.input[self.taken..self.scanned].to_vec();
        self.taken = self.scanned;
        frame
    }

    /// Everything that was read and not given away.
    fn take_input(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.input);
        rest.drain(..std::mem::take(&mut self.taken));
        self.scanned = 0;
        rest
    }

    fn read_some(&mut self, deadline: Instant) -> io::Result<usize> {
        // Once for many frames: moved for each of them, what follows would be copied again and again.
        self.scanned = self.scanned.saturating_sub(self.taken);
        self.input.drain(..std::mem::take(&mut self.taken));
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let start = self.input.len();
        self.input.resize(start + READ, 0);
        let read = self.stream.read(&mut self.input[start..]);
        self.input.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }
}
