//! Reports the state of the process to the service manager, if there is one: ready, stopping, and alive as long as every worker
//! answers.
//!
//! The protocol of sd_notify(3): lines in a datagram to the socket that `NOTIFY_SOCKET` names. `WATCHDOG_USEC` says how long the
//! silence may be until the process is taken for stuck and started anew.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::net::registry::{Mailbox, Message};

/// The service manager, or nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// How often it wants to hear that the process is alive.
    interval: Option<Duration>,
    /// The process ends: its workers do too.
    is_stopping: Arc<AtomicBool>,
}

impl ServiceManager {
    /// The one that started this process, as its environment says.
    pub(super) fn of_environment() -> ServiceManager {
        let variable = |name| std::env::var(name).ok();
        let Some(name) = variable("NOTIFY_SOCKET") else { return ServiceManager::default() };
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let silence = variable("WATCHDOG_USEC").filter(|_| is_ours).and_then(|silence| silence.parse().ok());
        match address(&name).and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
            Ok(socket) => ServiceManager {
                socket: Some(Arc::new(socket)),
                // Twice as often as must be, as its manual advises.
                interval: silence.filter(|silence| *silence > 0).map(|silence| Duration::from_micros(silence) / 2),
                is_stopping: Arc::default(),
            },
            Err(error) => {
                warn!(%error, "NOTIFY_SOCKET names no socket: the service manager is not notified");
                ServiceManager::default()
            }
        }
    }

    /// The process serves clients.
    pub(super) fn ready(&self) {
        self.notify("READY=1\nSTATUS=serving clients");
    }

    /// The process takes no new clients, and ends.
    pub(super) fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.notify("STOPPING=1\nSTATUS=draining");
    }

    /// Says that the process is alive for as long as every worker answers, and from [`Self::stopping`] on in any case.
    pub(super) fn watch(&self, workers: Vec<Mailbox>) -> Option<JoinHandle<()>> {
        let (manager, interval) = (self.clone(), self.interval?);
        Some(tokio::spawn(async move {
            let mut is_told = false;
            loop {
                tokio::time::sleep(interval / 2).await;
                if manager.is_stopping.load(Ordering::Relaxed) || all_answer(&workers, interval).await {
                    manager.notify("WATCHDOG=1");
                    is_told = false;
                } else if !std::mem::replace(&mut is_told, true) {
                    warn!(after = ?interval, "a worker does not respond: the service manager will restart the process");
                }
            }
        }))
    }

    fn notify(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.0.send_to_addr(state.as_bytes(), &socket.1) {
            warn!(%error, state, "the service manager cannot be notified");
        }
    }
}

/// A path, or behind `@` a name that is in no file system.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// Whether each worker takes a message and answers it within this time.
async fn all_answer(workers: &[Mailbox], within: Duration) -> bool {
    let asked = async {
        for worker in workers {
            let (alive, answered) = oneshot::channel();
            let sent = worker.sender.send(Message::Alive(alive)).await;
            if sent.is_err() || answered.await.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(within, asked).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn worker(answers: bool) -> (Mailbox, JoinHandle<()>) {
        let (sender, mut mailbox) = mpsc::channel(4);
        let works = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(message) = mailbox.recv().await {
                match message {
                    // Who asked may have left.
                    Message::Alive(alive) if answers => drop(alive.send(())),
                    other => unanswered.push(other),
                }
            }
        });
        (Mailbox { sender, clients: Arc::default() }, works)
    }

    #[tokio::test(start_paused = true)]
    async fn the_process_is_alive_if_every_worker_answers() {
        let within = Duration::from_secs(1);
        let (good, _) = worker(true);
        let (stuck, _) = worker(false);
        assert!(all_answer(&[good.clone(), good.clone()], within).await);
        assert!(!all_answer(&[good.clone(), stuck], within).await);
        let (ended, works) = worker(true);
        works.abort();
        assert!(works.await.is_err());
        assert!(!all_answer(&[good, ended], within).await);
    }

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        assert_eq!(address("/run/notify").expect("a path").as_pathname(), Some(std::path::Path::new("/run/notify")));
        assert_eq!(address("@notify").expect("a name").as_abstract_name(), Some(&b"notify"[..]));
        assert!(address(&"x".repeat(200)).is_err());
    }
}
