//! Plays groups of four commands with the `redis` and `fred` crates, as asked on standard input, and times each.

mod fred_crate;
mod job;
mod redis_crate;

use std::io::BufRead;

use job::Job;
use serde_json::{Value, json};

/// Answers each job, a line of JSON, with a line.
fn main() {
    let client = std::env::args().nth(1);
    let styles = match client.as_deref() {
        Some("redis") => redis_crate::STYLES,
        Some("fred") => fred_crate::STYLES,
        _ => panic!("the client's name: redis or fred"),
    };
    println!("{}", json!({ "styles": styles }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line.expect("a line")).expect("a job");
        let checks = job.style == "checks";
        let answer: Value = match client.as_deref() {
            Some("redis") if checks => json!({ "said": runtime.block_on(redis_crate::checks(job.port)) }),
            Some("redis") => json!({ "took_us": redis_crate::play(&runtime, &job) }),
            _ if checks => json!({ "said": runtime.block_on(fred_crate::checks(job.port)) }),
            _ => json!({ "took_us": runtime.block_on(fred_crate::play(&job)) }),
        };
        println!("{answer}");
    }
}
