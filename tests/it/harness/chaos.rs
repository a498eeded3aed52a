//! A TCP forwarder that does to bytes what bad networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use super::PATIENCE;

const POLL: Duration = Duration::from_millis(2);

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    Pass,
    /// Each piece comes so much later.
    Delay(Duration),
    /// One byte at a time.
    Trickle,
    /// Nothing comes through until the way changes.
    Hold,
    /// So many bytes pass, then nothing does.
    Stop(usize),
    /// So many bytes pass, then both sides see a reset.
    Reset(usize),
    /// So many bytes pass, then both sides see an end.
    Close(usize),
}

/// One connection through the forwarder.
struct Line {
    up: Mutex<Way>,
    down: Mutex<Way>,
    over: AtomicBool,
    ends: [TcpStream; 2],
}

/// A forwarder in front of a port of the loopback address.
pub struct Chaos {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// A line lives as long as its threads: its sockets are closed when both have ended.
    lines: Mutex<Vec<Weak<Line>>>,
    refuses: AtomicBool,
    over: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panicked")
}

impl Chaos {
    /// Forwards to this port.
    pub fn before(target: u16) -> Chaos {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State { lines: Mutex::default(), refuses: AtomicBool::new(false), over: AtomicBool::new(false) });
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, target, &shared));
        Chaos { port, state }
    }

    /// Where the forwarder listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The way of what the proxy sends, on the connections that there are.
    pub fn up(&self, way: Way) {
        self.each(|line| *locked(&line.up) = way);
    }

    /// The way of what the server sends, on the connections that there are.
    pub fn down(&self, way: Way) {
        self.each(|line| *locked(&line.down) = way);
    }

    /// Holds what the proxy sends on connections on which [`Way::Stop`] lets nothing more come back; how many they are.
    pub fn hold_stopped(&self) -> usize {
        let mut stopped = 0;
        locked(&self.state.lines).iter().filter_map(Weak::upgrade).for_each(|line| {
            if *locked(&line.down) == Way::Stop(0) {
                *locked(&line.up) = Way::Hold;
                stopped += 1;
            }
        });
        stopped
    }

    /// New connections are reset as soon as they are there, or not any more.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::SeqCst);
    }

    fn each(&self, act: impl Fn(&Line)) {
        locked(&self.state.lines).iter().filter_map(Weak::upgrade).for_each(|line| act(&line));
    }

    /// Every connection is reset.
    pub fn reset(&self) {
        self.each(Line::reset);
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.reset();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Line {
    fn reset(&self) {
        self.over.store(true, Ordering::SeqCst);
        for end in &self.ends {
            // Closing with this set is a reset.
            let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
            let _ = end.shutdown(Shutdown::Read);
        }
    }

    fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, target: u16, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        let server = TcpStream::connect(("127.0.0.1", target));
        let (Ok(server), false) = (server, state.refuses.load(Ordering::SeqCst)) else {
            let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
            continue;
        };
        let ends = [client, server];
        for end in &ends {
            end.set_nodelay(true).expect("a TCP socket");
            end.set_read_timeout(Some(POLL)).expect("a timeout");
            end.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        }
        let line = Arc::new(Line { up: Mutex::new(Way::Pass), down: Mutex::new(Way::Pass), over: AtomicBool::new(false), ends });
        locked(&state.lines).push(Arc::downgrade(&line));
        for (from, to, way) in [(0, 1, Line::up as fn(&Line) -> &Mutex<Way>), (1, 0, Line::down)] {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                forward(&line, from, to, way(&line));
            });
        }
    }
}

impl Line {
    fn up(&self) -> &Mutex<Way> {
        &self.up
    }

    fn down(&self) -> &Mutex<Way> {
        &self.down
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

fn forward(line: &Line, from: usize, to: usize, way: &Mutex<Way>) {
    let mut buffer = vec![0; 64 * 1024];
    while !line.is_over() {
        match (&line.ends[from]).read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                if !pass(line, &buffer[..read], to, way) {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    if !line.is_over() {
        let _ = line.ends[to].shutdown(Shutdown::Write);
    }
}

/// The way goes on so, unless it has been changed meanwhile.
fn change(way: &Mutex<Way>, from: Way, to: Way) {
    let mut way = locked(way);
    if *way == from {
        *way = to;
    }
}

/// False when the connection is over.
fn pass(line: &Line, mut bytes: &[u8], to: usize, way: &Mutex<Way>) -> bool {
    let mut end = &line.ends[to];
    while !bytes.is_empty() {
        if line.is_over() {
            return false;
        }
        let now = *locked(way);
        let count = match now {
            Way::Pass => bytes.len(),
            Way::Delay(by) => {
                thread::sleep(by);
                bytes.len()
            }
            Way::Trickle => {
                thread::sleep(Duration::from_micros(300));
                1
            }
            Way::Hold | Way::Stop(0) => {
                thread::sleep(POLL);
                continue;
            }
            Way::Stop(left) | Way::Reset(left) | Way::Close(left) => left.min(bytes.len()),
        };
        if end.write_all(&bytes[..count]).is_err() {
            return false;
        }
        bytes = &bytes[count..];
        match now {
            Way::Stop(left) => change(way, now, Way::Stop(left - count)),
            Way::Reset(left) if left > count => change(way, now, Way::Reset(left - count)),
            Way::Close(left) if left > count => change(way, now, Way::Close(left - count)),
            Way::Reset(_) => {
                line.reset();
                return false;
            }
            Way::Close(_) => {
                line.close();
                return false;
            }
            _ => {}
        }
    }
    true
}
