//! A command without its varying parts: its name, its options, the families of its keys.

use std::collections::HashMap;

use super::family::{Families, Piece, escaped};
use super::seen::{Command, is_value};
use crate::command::{CommandId, KeyList, Rewrite, Spec, Table, Word as Canonical, arrange};
use respguard_resp::request::Args;

/// Words of one command that are told apart; the rest is `...`.
const WORDS_MAX: usize = 12;
/// Keys behind those that the command always has.
const MORE_KEYS_MAX: usize = 4;

/// One word of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Word {
    /// The command's name or an option.
    Text(String),
    Key(Vec<Piece>),
    /// Data: what stands there is never shown.
    Data,
}

/// What commands have in common that do the same to the same kinds of keys.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) words: Vec<Word>,
    /// There may be more arguments than the words.
    pub(super) open: bool,
    /// There were.
    pub(super) longer: bool,
    pub(super) is_write: bool,
    /// For each slot whether it is part of a key.
    pub(super) slots: Vec<bool>,
    /// The first names of its keys.
    pub(super) names: Vec<String>,
}

/// One command as one of its template.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    pub(super) template: usize,
    /// What stands in the slots of its keys, and its data.
    pub(super) slots: Vec<&'a [u8]>,
    pub(super) begins_read: bool,
}

/// All templates, in the order in which they were first seen.
#[derive(Default)]
pub(super) struct Templates {
    pub(super) all: Vec<Template>,
    numbers: HashMap<(CommandId, Vec<Word>, bool), usize>,
}

impl Template {
    /// The literal text in front of a slot of a key.
    pub(super) fn text_before(&self, slot: usize) -> &str {
        let (mut at, mut before) = (0, "");
        for word in &self.words {
            match word {
                Word::Text(_) => {}
                Word::Data => at += 1,
                Word::Key(pieces) => {
                    before = "";
                    for piece in pieces {
                        match piece {
                            Piece::Text(text) => before = text,
                            Piece::Slot if at == slot => return before,
                            Piece::Slot => at += 1,
                        }
                    }
                }
            }
        }
        before
    }

    /// The template as a member of a group; `names` are those of its slots that are captures.
    pub(super) fn written(&self, names: &[Option<&str>]) -> String {
        let mut slot = 0;
        let mut name = || {
            slot += 1;
            names.get(slot - 1).copied().flatten().map_or("*".to_owned(), |name| format!("{{{name}}}"))
        };
        let mut words: Vec<String> = Vec::new();
        for word in &self.words {
            words.push(match word {
                Word::Text(text) => text.clone(),
                Word::Data => name(),
                Word::Key(pieces) => pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Text(text) => escaped(text),
                        Piece::Slot => name(),
                    })
                    .collect(),
            });
        }
        let data = words.iter().zip(&self.words).rev();
        let tail = data.take_while(|(written, word)| **word == Word::Data && *written == "*").count();
        if self.open && (self.longer || tail > 0) {
            words.truncate(words.len() - tail);
            words.push("...".to_owned());
        }
        words.join(" ")
    }
}

impl Templates {
    /// The command as one of its template; `None` where it cannot be in a group, or names no known kind of key.
    pub(super) fn place<'a>(&mut self, command: &'a Command, families: &Families, table: &Table) -> Option<Item<'a>> {
        let spec = table.spec(command.id);
        let args = command.args();
        if command.in_transaction || spec.groupable().is_err() || spec.is_blocking(args) {
            return None;
        }
        let mut is_key = vec![false; args.len()];
        let listed = spec.for_each_key(args, &mut |place, _| {
            if let Some(is_key) = is_key.get_mut(place) {
                *is_key = true;
            }
        });
        if listed != KeyList::Complete || !is_key.contains(&true) {
            return None;
        }
        let mut made = Made::default();
        let longer = made.read(args, spec, &is_key, &options(command.id, args, table), families)?;
        let open = is_open(spec);
        let key = (command.id, made.words, open);
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let (words, is_write) = (key.1.clone(), spec.is_write());
                self.all.push(Template { slots: slots(&words), words, open, longer, is_write, names: made.names });
                self.numbers.insert(key, self.all.len() - 1);
                self.all.len() - 1
            }
        };
        self.all[number].longer |= longer;
        Some(Item { template: number, slots: made.slots, begins_read: command.begins_read })
    }
}

/// A template in the making.
#[derive(Default)]
struct Made<'a> {
    words: Vec<Word>,
    names: Vec<String>,
    slots: Vec<&'a [u8]>,
}

impl<'a> Made<'a> {
    /// Takes the words, and says whether there are more than the template tells.
    fn read(&mut self, args: Args<'a>, spec: &Spec, is_key: &[bool], is_option: &[bool], families: &Families) -> Option<bool> {
        let first = usize::from(spec.name_words);
        let name = spec.name().to_ascii_uppercase();
        self.words.extend(name.split('|').map(|word| Word::Text(word.to_owned())));
        let always = usize::from(spec.arity.unsigned_abs()) + is_option.iter().filter(|is| **is).count();
        let most = if is_open(spec) { always } else { WORDS_MAX };
        for (place, argument) in args.iter().enumerate().skip(first) {
            let is_more = place >= most;
            if is_more && !(is_key[place] && place < most + MORE_KEYS_MAX) {
                return Some(true);
            }
            if is_key[place] {
                let placed = families.place(argument)?;
                self.names.push(placed.name());
                self.slots.extend(&placed.slots);
                self.words.push(Word::Key(placed.pieces));
            } else if is_option[place] {
                self.words.push(Word::Text(std::str::from_utf8(argument).ok()?.to_ascii_uppercase()));
            } else {
                self.slots.push(argument);
                self.words.push(Word::Data);
            }
        }
        Some(false)
    }
}

fn slots(words: &[Word]) -> Vec<bool> {
    let of_word = |word: &Word| match word {
        Word::Text(_) => Vec::new(),
        Word::Key(pieces) => pieces.iter().filter(|piece| **piece == Piece::Slot).map(|_| true).collect(),
        Word::Data => vec![false],
    };
    words.iter().flat_map(of_word).collect()
}

/// Whether a request of the command may have any number of arguments that are not options.
fn is_open(spec: &Spec) -> bool {
    let more = matches!(spec.rewrite, Rewrite::None | Rewrite::HMSet) || matches!(spec.name(), "zadd" | "geoadd");
    spec.arity < 0 && more
}

/// For each word whether it is an option: a word for which the command's canonical form has one of its own.
fn options(id: CommandId, args: Args<'_>, table: &Table) -> Vec<bool> {
    let mut is_option = vec![true; args.len()];
    let names = usize::from(table.spec(id).name_words);
    let form = arrange(table, id, &args);
    let kept = form.iter().flat_map(|form| (0..form.len()).filter_map(|at| form.word(at)));
    let places = kept.filter_map(|word| match word {
        Canonical::Arg(place) => Some(place),
        Canonical::Token(_) => None,
    });
    for place in (0..names).chain(places) {
        if let Some(is_option) = is_option.get_mut(place) {
            *is_option = false;
        }
    }
    is_option
}

/// Whether two commands share what one of them has in a key.
pub(super) fn shares(data: &[u8], is_key: bool) -> bool {
    let is_number = data.iter().all(u8::is_ascii_digit);
    !data.is_empty() && !is_value(data) && (is_key || !is_number || data.len() >= 4)
}
