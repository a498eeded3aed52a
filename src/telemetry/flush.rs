//! Asks the workers to flush their metrics before they are read.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a reader waits for the workers; what a busier worker counted is shown by the next scrape.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A worker that is asked again before it answered gets the later question only up to this number.
const QUESTIONS_MAX: usize = 4;

/// A worker's end: it receives a question, flushes its metrics, and then answers `()`.
pub type FlushRequests = mpsc::Receiver<oneshot::Sender<()>>;

/// The readers' end, for all workers.
#[derive(Clone, Debug, Default)]
pub struct Flushes {
    workers: Vec<mpsc::Sender<oneshot::Sender<()>>>,
}

impl Flushes {
    /// Adds a worker and gives it its end.
    pub fn add_worker(&mut self) -> FlushRequests {
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        self.workers.push(sender);
        questions
    }

    /// Asks every worker and waits until each has flushed, at most [`FLUSH_TIMEOUT`].
    ///
    /// A worker that is gone, or has too many questions open, is not waited for. Dropping the future leaves the workers to flush in vain.
    pub async fn flush_all(&self) {
        let asked: Vec<_> = self.workers.iter().filter_map(ask).collect();
        let answered = async {
            for answer in asked {
                // A dropped question means that its worker has ended, and its metrics were flushed when they were dropped.
                let _ = answer.await;
            }
        };
        if timeout(FLUSH_TIMEOUT, answered).await.is_err() {
            tracing::debug!("a worker was too busy to flush its metrics");
        }
    }
}

fn ask(worker: &mpsc::Sender<oneshot::Sender<()>>) -> Option<oneshot::Receiver<()>> {
    let (question, answer) = oneshot::channel();
    worker.try_send(question).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fold_all_returns_when_every_worker_has_answered() {
        let mut flushes = Flushes::default();
        let mut workers = [flushes.add_worker(), flushes.add_worker()];
        let answers = async {
            for worker in &mut workers {
                worker.recv().await.expect("a question").send(()).expect("still awaited");
            }
        };
        tokio::join!(flushes.flush_all(), answers);
    }

    #[tokio::test]
    async fn a_worker_that_is_gone_is_not_waited_for() {
        let mut flushes = Flushes::default();
        drop(flushes.add_worker());
        let started = tokio::time::Instant::now();
        flushes.flush_all().await;
        assert!(started.elapsed() < FLUSH_TIMEOUT);
    }

    #[tokio::test]
    async fn a_silent_worker_holds_nobody_up_for_long_even_with_many_questions_open() {
        let mut flushes = Flushes::default();
        let _silent = flushes.add_worker();
        for _ in 0..QUESTIONS_MAX {
            assert!(ask(&flushes.workers[0]).is_some());
        }
        assert!(ask(&flushes.workers[0]).is_none());
        timeout(FLUSH_TIMEOUT * 4, flushes.flush_all()).await.expect("bounded");
    }
}
