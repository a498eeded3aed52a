//! What each sentinel has reported last, for display.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::Sentinels;
use respguard_engine::route::sentinel::Word;

/// The service, and what each sentinel has said last. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Standing {
    pub service: Arc<str>,
    said: Arc<Mutex<Vec<Said>>>,
}

#[derive(Debug, Clone)]
struct Said {
    sentinel: String,
    /// Nothing before the first answer.
    word: Option<Result<Word, String>>,
}

impl Standing {
    /// None has said anything yet.
    pub fn new(sentinels: &Sentinels) -> Standing {
        let said = sentinels.addresses.iter().map(|address| Said { sentinel: address.to_string(), word: None });
        Standing { service: sentinels.service.as_str().into(), said: Arc::new(Mutex::new(said.collect())) }
    }

    /// One has said this, or does not answer; true when that differs from what it said before.
    pub(super) fn note(&self, sentinel: usize, word: Result<Word, String>) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(said) = said.get_mut(sentinel) else { return false };
        let is_news = said.word.as_ref() != Some(&word);
        said.word = Some(word);
        is_news
    }

    /// Each sentinel, with what it says.
    pub fn describe(&self) -> Value {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = said.into_iter().map(|Said { sentinel, word }| match word {
            None => json!({ "address": sentinel, "answers": false }),
            Some(Ok(Word::Unknown)) => json!({ "address": sentinel, "answers": true, "names": null }),
            Some(Ok(Word::Named { host, port, epoch })) => {
                json!({ "address": sentinel, "answers": true, "names": format!("{host}:{port}"), "epoch": epoch })
            }
            Some(Err(error)) => json!({ "address": sentinel, "answers": false, "error": error }),
        });
        shown.collect()
    }
}
