//! What each sentinel has reported last, for display.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::Sentinels;
use respguard_engine::route::sentinel::Report;

/// The service, and what each sentinel has said last. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SentinelStatus {
    pub service: Arc<str>,
    last_reports: Arc<Mutex<Vec<SentinelReport>>>,
}

#[derive(Debug, Clone)]
struct SentinelReport {
    sentinel: String,
    /// Nothing before the first answer.
    report: Option<Result<Report, String>>,
}

impl SentinelStatus {
    /// None has said anything yet.
    pub fn new(sentinels: &Sentinels) -> SentinelStatus {
        let last_reports =
            sentinels.addresses.iter().map(|address| SentinelReport { sentinel: address.to_string(), report: None });
        SentinelStatus { service: sentinels.service.as_str().into(), last_reports: Arc::new(Mutex::new(last_reports.collect())) }
    }

    /// One has said this, or does not answer; true when that differs from what it said before.
    pub(super) fn note(&self, sentinel: usize, report: Result<Report, String>) -> bool {
        let mut last_reports = self.last_reports.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last_reports) = last_reports.get_mut(sentinel) else { return false };
        let is_news = last_reports.report.as_ref() != Some(&report);
        last_reports.report = Some(report);
        is_news
    }

    /// Each sentinel, with what it says.
    pub fn describe(&self) -> Value {
        let last_reports = self.last_reports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = last_reports.into_iter().map(|SentinelReport { sentinel, report }| match report {
            None => json!({ "address": sentinel, "answers": false }),
            Some(Ok(Report::Unknown)) => json!({ "address": sentinel, "answers": true, "names": null }),
            Some(Ok(Report::Named { host, port, epoch })) => {
                json!({ "address": sentinel, "answers": true, "names": format!("{host}:{port}"), "epoch": epoch })
            }
            Some(Err(error)) => json!({ "address": sentinel, "answers": false, "error": error }),
        });
        shown.collect()
    }
}
