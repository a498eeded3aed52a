//! Clients of one thread, each with one batch under way.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::http;
use crate::job::Job;
use crate::socket::{Both, Socket};

/// Nothing here takes so long.
const STUCK: Duration = Duration::from_secs(10);

pub struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: Socket,
    /// Bytes of the batch under way that have yet to come.
    owed: usize,
    /// Over HTTP, what has come of an answer whose head is not whole: `owed` is known behind it.
    head: Option<Vec<u8>>,
    sent_at: Instant,
}

/// What came of playing for a while.
pub struct Played {
    pub batches: usize,
    pub elapsed: Duration,
    pub latencies_ns: Vec<u64>,
}

impl Clients {
    /// Connects to a port of the loopback. `hello` is one exchange before the clock runs: the connection is accepted and has
    /// its place.
    pub fn connect(port: u16, clients: usize, tls: Option<&Arc<ClientConfig>>, hello: fn(&mut dyn Both)) -> Clients {
        let poll = Poll::new().expect("an epoll");
        let clients = (0..clients).map(|place| {
            let stream = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("a listener");
            stream.set_nodelay(true).expect("set");
            let mut stream = Socket::over(stream, tls, hello);
            poll.registry().register(stream.source(), Token(place), Interest::READABLE).expect("registered");
            Client { stream, owed: 0, head: None, sent_at: Instant::now() }
        });
        let clients = clients.collect();
        Clients { poll, events: Events::with_capacity(1024), clients, buffer: vec![0; 256 * 1024] }
    }

    /// Sends the batch twice on one connection; the second time the answer must be as expected, byte for byte.
    pub fn check(&mut self, job: &Job) {
        for is_first in [true, false] {
            self.clients[0].send(job);
            let mut came = Vec::new();
            let start = Instant::now();
            while http::body(&came, job.is_http).is_none_or(|body| body.len() < job.replies.len()) {
                assert!(start.elapsed() < STUCK, "stuck after {:?}", String::from_utf8_lossy(&came));
                match self.clients[0].stream.read(&mut self.buffer) {
                    Ok(read) => came.extend_from_slice(&self.buffer[..read]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            let body = http::body(&came, job.is_http);
            assert!(is_first || body == Some(&job.replies[..]), "{:?}", String::from_utf8_lossy(&came));
        }
        self.clients[0].owed = 0;
        self.clients[0].head = None;
    }

    /// Every client sends the next batch as soon as it has the answer to the former; ends with nothing under way.
    pub fn play(&mut self, job: &Job, long: Duration) -> Played {
        let start = Instant::now();
        let mut played = Played { batches: 0, elapsed: long, latencies_ns: Vec::with_capacity(1 << 18) };
        self.clients.iter_mut().for_each(|client| client.send(job));
        let mut under_way = self.clients.len();
        while under_way > 0 {
            self.poll.poll(&mut self.events, Some(STUCK)).expect("polled");
            assert!(!self.events.is_empty(), "stuck: {under_way} batches are not answered");
            for event in &self.events {
                let client = &mut self.clients[event.token().0];
                if !client.receive(&mut self.buffer) {
                    continue;
                }
                let now = Instant::now();
                played.batches += 1;
                played.latencies_ns.push((now - client.sent_at).as_nanos() as u64);
                if now - start < long {
                    client.send(job);
                } else {
                    under_way -= 1;
                }
            }
        }
        played.elapsed = start.elapsed();
        played
    }
}

/// Asks for a key that is not there, and reads the answer.
pub fn hello(stream: &mut dyn Both) {
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$7\r\nnothing\r\n").expect("written");
    stream.read_exact(&mut [0; b"$-1\r\n".len()]).expect("answered");
}

impl Client {
    fn send(&mut self, job: &Job) {
        self.sent_at = Instant::now();
        self.owed = job.replies.len();
        self.head = job.is_http.then(|| self.head.take().unwrap_or_default());
        let written = self.stream.write(&job.requests).expect("the socket has room for a batch");
        assert_eq!(written, job.requests.len(), "the socket has room for a batch");
    }

    /// Reads once, which by the rules of edge-triggered epoll is enough unless it fills the buffer; true when the batch is
    /// answered.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the connection was closed"),
                Ok(read) => {
                    self.count(&buffer[..read]);
                    if read == buffer.len() && self.owed > 0 {
                        continue;
                    }
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            return self.owed == 0;
        }
    }

    fn count(&mut self, came: &[u8]) {
        let mut body = came.len();
        if let Some(head) = &mut self.head {
            head.extend_from_slice(came);
            let Some(begins) = http::body_begins(head) else { return };
            // Each answer is as long as the one that was compared.
            assert_eq!(http::content_length(&head[..begins]), self.owed, "{:?}", String::from_utf8_lossy(head));
            body = head.len() - begins;
            head.clear();
            // What comes behind the head is only counted; the room stays the client's.
            if body < self.owed {
                self.head = None;
            }
        }
        self.owed = self.owed.checked_sub(body).expect("no more comes than is owed");
    }
}
