//! Clients on one thread, each with one GET under way.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
/// Nobody has set the key.
const REPLY: &[u8] = b"$-1\r\n";
/// Nothing here takes so long.
const STUCK: Duration = Duration::from_secs(10);

pub struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// Bytes of the reply that have yet to come.
    owed: usize,
    sent_at: Instant,
}

impl Load {
    /// Connects to a port of the loopback.
    pub fn connect(port: u16, clients: usize) -> Load {
        let poll = Poll::new().expect("an epoll");
        let clients = (0..clients).map(|place| {
            let mut stream = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("a listener");
            stream.set_nodelay(true).expect("set");
            // One exchange before the clock runs: the connection is accepted and has its place.
            stream.write_all(b"PING\r\n").expect("written");
            stream.read_exact(&mut [0; b"+PONG\r\n".len()]).expect("answered");
            stream.set_nonblocking(true).expect("set");
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(place), Interest::READABLE).expect("registered");
            Client { stream, owed: 0, sent_at: Instant::now() }
        });
        let clients = clients.collect();
        Load { poll, events: Events::with_capacity(1024), clients, buffer: vec![0; 4096] }
    }

    /// Every client sends the next GET as soon as it has the reply to the former; ends with nothing under way. Gives how
    /// long each took, in nanoseconds.
    pub fn play(&mut self, long: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut latencies = Vec::with_capacity(1 << 18);
        self.clients.iter_mut().for_each(Client::send);
        let mut under_way = self.clients.len();
        while under_way > 0 {
            self.poll.poll(&mut self.events, Some(STUCK)).expect("polled");
            assert!(!self.events.is_empty(), "stuck: {under_way} GETs are not answered");
            for event in &self.events {
                let client = &mut self.clients[event.token().0];
                if !client.receive(&mut self.buffer) {
                    continue;
                }
                let now = Instant::now();
                latencies.push((now - client.sent_at).as_nanos() as u64);
                if now - start < long {
                    client.send();
                } else {
                    under_way -= 1;
                }
            }
        }
        latencies
    }
}

impl Client {
    fn send(&mut self) {
        self.sent_at = Instant::now();
        self.owed = REPLY.len();
        let written = self.stream.write(GET).expect("the socket has room for a request");
        assert_eq!(written, GET.len(), "the socket has room for a request");
    }

    /// Reads once, which by the rules of edge-triggered epoll is enough; true when the GET is answered.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => panic!("the connection was closed"),
            Ok(read) => self.owed = self.owed.checked_sub(read).expect("no more comes than is owed"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        self.owed == 0
    }
}
