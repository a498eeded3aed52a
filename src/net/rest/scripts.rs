//! Runs scripts with a flag that only Upstash knows, and maps the digests that their clients use.
//!
//! `@upstash/ratelimit` begins its scripts with `#!lua flags=allow-key-locking`, which every server refuses. The flag is taken
//! out; the digest of what the client sent is mapped to that of what the server has. A digest that is not known here passes as
//! it is: the server answers NOSCRIPT, the client sends the script, and it is known from then on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha1_smol::{Digest, Sha1};

use respguard_engine::command::Spec;
use respguard_resp::request::Args;

const FLAG: &[u8] = b"allow-key-locking";
/// Scripts whose digests are kept; the one that has been known longest goes first.
const SCRIPTS_MAX: usize = 4096;

/// What was sent, and what the server has in its place.
#[derive(Debug, Default)]
pub struct Scripts {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    own: HashMap<Digest, Digest>,
    order: VecDeque<Digest>,
}

/// What stands in the place of a command's arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Places, and what is sent there.
    pub arguments: Vec<(usize, Vec<u8>)>,
    /// The digest that the client is to be answered, for a script that was loaded.
    pub loaded: Option<Box<Digest>>,
}

impl Scripts {
    /// What is sent in the place of this request, if anything of it is to be another.
    pub fn rewrite(&self, spec: &Spec, args: Args<'_>) -> Option<Rewritten> {
        match spec.name() {
            "eval" | "eval_ro" => {
                let (_, own) = self.taken_in(args.get(1)?)?;
                Some(Rewritten { arguments: vec![(1, own)], loaded: None })
            }
            "script|load" => {
                let (digest, own) = self.taken_in(args.get(2)?)?;
                Some(Rewritten { arguments: vec![(2, own)], loaded: Some(Box::new(digest)) })
            }
            "evalsha" | "evalsha_ro" => self.own_digests(args, 1, 2),
            "script|exists" => self.own_digests(args, 2, args.len()),
            _ => None,
        }
    }

    /// A script with the flag is known from now on: its digest, and the script without.
    fn taken_in(&self, script: &[u8]) -> Option<(Digest, Vec<u8>)> {
        let own = without_flag(script)?;
        let (digest, own_digest) = (Sha1::from(script).digest(), Sha1::from(&own).digest());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.own.insert(digest, own_digest).is_none() {
            known.order.push_back(digest);
            if known.order.len() > SCRIPTS_MAX
                && let Some(oldest) = known.order.pop_front()
            {
                known.own.remove(&oldest);
            }
        }
        Some((digest, own))
    }

    fn own_digests(&self, args: Args<'_>, from: usize, to: usize) -> Option<Rewritten> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.own.is_empty() {
            return None;
        }
        let own = |place| known.own.get(&digest(args.get(place)?)?).map(|own| (place, own.to_string().into_bytes()));
        let arguments: Vec<_> = (from..to).filter_map(own).collect();
        (!arguments.is_empty()).then_some(Rewritten { arguments, loaded: None })
    }
}

/// The script without the flag in its first line; `None` when that has none. The other flags and all lines stay.
fn without_flag(script: &[u8]) -> Option<Vec<u8>> {
    let (line, rest) = script.split_at(memchr::memchr(b'\n', script).unwrap_or(script.len()));
    let words = line.strip_prefix(b"#!")?.split(|byte| *byte == b' ');
    let mut found = false;
    let mut kept: Vec<u8> = b"#!".to_vec();
    for (place, word) in words.enumerate() {
        let flags = word.trim_ascii_end().strip_prefix(b"flags=");
        let word = match flags {
            Some(flags) if flags.split(|byte| *byte == b',').any(|flag| flag == FLAG) => {
                found = true;
                let others: Vec<&[u8]> = flags.split(|byte| *byte == b',').filter(|flag| *flag != FLAG).collect();
                if others.is_empty() {
                    continue;
                }
                [b"flags=", &others.join(&b","[..])[..]].concat()
            }
            _ => word.to_vec(),
        };
        if place > 0 {
            kept.push(b' ');
        }
        kept.extend_from_slice(&word);
    }
    found.then(|| [&kept[..], rest].concat())
}

/// The digest with these forty digits.
fn digest(text: &[u8]) -> Option<Digest> {
    // The parser wants ASCII, and takes a sign for a digit.
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rest::json::Arguments;
    use respguard_engine::command::Table;

    fn rewritten(scripts: &Scripts, words: &[&[u8]]) -> Option<Rewritten> {
        let (table, mut arguments) = (Table::builtin(), Arguments::default());
        words.iter().for_each(|word| arguments.push(word));
        scripts.rewrite(table.spec(table.lookup(arguments.args())), arguments.args())
    }

    fn sha(script: &str) -> String {
        Sha1::from(script).digest().to_string()
    }

    #[test]
    fn only_that_flag_is_taken_out_of_the_first_line() {
        for (script, wanted) in [
            ("#!lua flags=allow-key-locking\nreturn 1", Some("#!lua\nreturn 1")),
            ("#!lua flags=allow-key-locking", Some("#!lua")),
            ("#!lua flags=no-writes,allow-key-locking\nx", Some("#!lua flags=no-writes\nx")),
            ("#!lua flags=allow-key-locking,allow-oom name=a\nx", Some("#!lua flags=allow-oom name=a\nx")),
            ("#!lua name=a flags=allow-key-locking\r\nx", Some("#!lua name=a\nx")),
            ("#!lua flags=no-writes\n-- flags=allow-key-locking", None),
            ("#!lua\nreturn 'flags=allow-key-locking'", None),
            ("return 1 -- #!lua flags=allow-key-locking", None),
            ("", None),
        ] {
            assert_eq!(without_flag(script.as_bytes()).as_deref(), wanted.map(str::as_bytes), "{script}");
        }
    }

    #[test]
    fn a_script_that_was_sent_is_found_by_the_digest_that_its_client_knows() {
        let (scripts, sent, own) = (Scripts::default(), "#!lua flags=allow-key-locking\nreturn 1", "#!lua\nreturn 1");
        let evalsha = [&b"evalsha"[..], &sha(sent).into_bytes(), b"0"].map(<[u8]>::to_vec);
        let evalsha: Vec<&[u8]> = evalsha.iter().map(|word| &word[..]).collect();
        assert_eq!(rewritten(&scripts, &evalsha), None, "the server says NOSCRIPT");
        let eval = rewritten(&scripts, &[b"EVAL", sent.as_bytes(), b"0"]).expect("it has the flag");
        assert_eq!(eval, Rewritten { arguments: vec![(1, own.into())], loaded: None });
        let found = rewritten(&scripts, &evalsha).expect("known");
        assert_eq!(found.arguments, [(1, sha(own).into_bytes())]);
        let upper = sha(sent).to_uppercase();
        assert!(rewritten(&scripts, &[b"SCRIPT", b"EXISTS", b"x", upper.as_bytes()]).is_some_and(|own| own.arguments[0].0 == 3));
        assert_eq!(rewritten(&scripts, &[b"evalsha", sha("other").as_bytes(), b"0"]), None);
        assert_eq!(rewritten(&scripts, &[b"EVAL", b"return 1", b"0"]), None);
    }

    #[test]
    fn a_loaded_script_answers_the_digest_that_its_client_knows() {
        let sent = "#!lua flags=allow-key-locking\nreturn 1";
        let loaded = rewritten(&Scripts::default(), &[b"SCRIPT", b"LOAD", sent.as_bytes()]).expect("it has the flag");
        assert_eq!(loaded.loaded.map(|digest| digest.to_string()), Some(sha(sent)));
    }

    #[test]
    fn no_more_scripts_are_kept_than_there_is_room_for() {
        let scripts = Scripts::default();
        for n in 0..SCRIPTS_MAX + 5 {
            scripts.taken_in(format!("#!lua flags=allow-key-locking\nreturn {n}").as_bytes()).expect("it has the flag");
        }
        let known = scripts.known.lock().expect("nobody panicked");
        assert_eq!((known.own.len(), known.order.len()), (SCRIPTS_MAX, SCRIPTS_MAX));
        assert!(!known.own.contains_key(&Sha1::from("#!lua flags=allow-key-locking\nreturn 0").digest()));
    }
}
