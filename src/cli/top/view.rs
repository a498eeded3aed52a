//! What is on the screen of `respguard top`, and what keys change of it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sample::Sample;
use crate::net::admin::clients::Sort;

/// What is on the screen.
pub(super) struct View {
    pub(super) address: String,
    pub(super) now: Sample,
    /// The look before: rates are the difference.
    pub(super) before: Option<Sample>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// Why there is no newer look.
    pub(super) failure: Option<String>,
}

/// What a key leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyAction {
    Continue,
    Quit,
    /// What is asked for has changed.
    Refresh,
}

impl View {
    pub(super) fn replace(&mut self, sample: Sample) {
        self.before = Some(std::mem::replace(&mut self.now, sample));
        self.failure = None;
    }

    /// The rows that are wanted.
    pub(super) fn takes(&self, cells: &[String]) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty() || cells.iter().any(|cell| cell.to_lowercase().contains(&wanted))
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> KeyAction {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return KeyAction::Quit,
            KeyCode::Esc => (self.is_typing, self.filter) = (false, String::new()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Backspace if self.is_typing => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.is_typing => self.filter.push(letter),
            KeyCode::Char('q') => return KeyAction::Quit,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                return KeyAction::Refresh;
            }
            _ => {}
        }
        KeyAction::Continue
    }
}
