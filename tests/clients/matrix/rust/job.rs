//! What is asked for: so many groups in one style, with keys of their own.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinSet;

pub const SECONDS: u16 = 60;
/// In which a connection that was killed is certainly closed.
pub const KILLED: Duration = Duration::from_millis(200);

#[derive(Deserialize, Clone)]
pub struct Job {
    pub style: String,
    pub port: u16,
    #[serde(default)]
    bytes: usize,
    #[serde(default)]
    groups: usize,
    #[serde(default)]
    callers: usize,
    #[serde(default)]
    name: String,
}

/// One group of the rule `refresh-token`.
pub struct Group {
    pub key: String,
    pub sessions: String,
    pub token: String,
    pub value: String,
}

/// What Redis answers to a group: OK, one added, one that expires, one member.
pub type Replies = (String, u8, u8, Vec<String>);

impl Job {
    /// The groups of one of the job's callers.
    pub fn groups(&self, caller: usize) -> impl Iterator<Item = Group> {
        let all = (caller..self.groups).step_by(self.callers);
        all.map(|n| Group::new(&format!("{}-{n}", self.name), &format!("t{n}"), self.bytes))
    }

    /// Each caller, a task, sends its groups one after the other; gives how long each took, in microseconds.
    pub async fn play<F: Future<Output = Replies> + Send>(&self, send: impl Fn(Group) -> F + Clone + Send + 'static) -> Vec<u64> {
        let mut callers = JoinSet::new();
        for caller in 0..self.callers {
            let (job, send) = (self.clone(), send.clone());
            callers.spawn(async move {
                let mut took_us = Vec::new();
                for group in job.groups(caller) {
                    let (start, token) = (Instant::now(), group.token.clone());
                    let replies = send(group).await;
                    took_us.push(start.elapsed().as_micros() as u64);
                    // Calls at once may overtake each other before they are written.
                    if !job.style.starts_with("loose") {
                        check(&token, &replies);
                    }
                }
                took_us
            });
        }
        callers.join_all().await.concat()
    }
}

impl Group {
    pub fn new(user: &str, token: &str, bytes: usize) -> Group {
        Group {
            key: format!("rt:{user}:{token}"),
            sessions: format!("sess:{user}"),
            token: token.to_owned(),
            value: "v".repeat(bytes),
        }
    }
}

pub fn check(token: &str, replies: &Replies) {
    assert_eq!(replies, &("OK".to_owned(), 1, 1, vec![token.to_owned()]));
}
