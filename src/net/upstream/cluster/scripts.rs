//! Scripts and functions that were loaded through the proxy, so that a node that was added or restarted can be given them:
//! `EVALSHA` and `FCALL` answer the same on all nodes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha1_smol::Sha1;

use respguard_engine::command::Spec;
use respguard_resp::encode;
use respguard_resp::request::Args;

/// What is kept of all scripts, and of all libraries; the script that has been known longest goes first.
const BYTES_MAX: usize = 8 * 1024 * 1024;
const LIBRARIES_MAX: usize = 256;

pub(super) type Digest = [u8; 20];

/// For the whole process.
#[derive(Debug, Default)]
pub struct Scripts {
    known: Mutex<Known>,
    /// Rises with each change of the libraries; 0 while there has been none.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    scripts: HashMap<Digest, Arc<[u8]>>,
    order: VecDeque<Digest>,
    script_bytes: usize,
    libraries: BTreeMap<Box<[u8]>, Arc<[u8]>>,
}

/// What a request runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ScriptNeeds {
    pub(super) scripts: Vec<Digest>,
    pub(super) functions: bool,
}

impl ScriptNeeds {
    /// Takes in one request of a transaction.
    pub(super) fn note(&mut self, spec: &Spec, args: Args<'_>) {
        match spec.name() {
            "evalsha" | "evalsha_ro" => {
                if let Some(digest) = args.get(1).and_then(read_digest).filter(|digest| !self.scripts.contains(digest)) {
                    self.scripts.push(digest);
                }
            }
            "fcall" | "fcall_ro" => self.functions = true,
            _ => {}
        }
    }

    pub(super) fn any(&self) -> bool {
        self.functions || !self.scripts.is_empty()
    }
}

impl Scripts {
    /// Takes note of a request that goes to all primaries.
    pub(super) fn note(&self, spec: &Spec, args: Args<'_>) {
        let Some(last) = args.len().checked_sub(1).and_then(|at| args.get(at)) else { return };
        match spec.name() {
            "script|load" if args.len() == 3 && last.len() <= BYTES_MAX => self.known().load(last),
            "script|flush" => self.known().forget_scripts(),
            "function|load" => {
                if let Some(name) = library_name(last).filter(|_| last.len() <= BYTES_MAX) {
                    self.known().load_library(name, last);
                    self.version.fetch_add(1, Ordering::Relaxed);
                }
            }
            "function|delete" => drop(self.known().libraries.remove(last)),
            "function|flush" => self.known().libraries.clear(),
            _ => {}
        }
    }

    pub(super) fn body(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.known().scripts.get(digest).cloned()
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Requests that load all libraries where they are not there; how many.
    pub(super) fn write_libraries(&self, requests: &mut Vec<u8>) -> u32 {
        let known = self.known();
        known.libraries.values().for_each(|body| encode::request(requests, &[b"FUNCTION", b"LOAD", body]));
        u32::try_from(known.libraries.len()).unwrap_or(0)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn load(&mut self, body: &[u8]) {
        let digest = Sha1::from(body).digest().bytes();
        if self.scripts.insert(digest, body.into()).is_some() {
            return;
        }
        self.order.push_back(digest);
        self.script_bytes += body.len();
        while self.script_bytes > BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.script_bytes -= self.scripts.remove(&oldest).map_or(0, |body| body.len());
        }
    }

    fn forget_scripts(&mut self) {
        self.scripts.clear();
        self.order.clear();
        self.script_bytes = 0;
    }

    fn load_library(&mut self, name: &[u8], body: &[u8]) {
        let bytes: usize = self.libraries.values().map(|body| body.len()).sum();
        let has_room = bytes + body.len() <= BYTES_MAX && self.libraries.len() < LIBRARIES_MAX;
        if has_room || self.libraries.contains_key(name) {
            self.libraries.insert(name.into(), body.into());
        }
    }
}

/// <https://redis.io/docs/latest/develop/programmability/functions-intro/>
fn library_name(body: &[u8]) -> Option<&[u8]> {
    let line = body.split(|byte| *byte == b'\n').next()?.strip_prefix(b"#!")?;
    line.split(u8::is_ascii_whitespace).find_map(|word| word.strip_prefix(b"name="))
}

fn read_digest(text: &[u8]) -> Option<Digest> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 40 && text.is_ascii())?;
    let mut digest = Digest::default();
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_by_its_digest_until_others_need_its_room() {
        let mut known = Known::default();
        known.load(b"return 1");
        let digest = read_digest(b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db").expect("a digest");
        assert_eq!(known.scripts.get(&digest).map(|body| &**body), Some(&b"return 1"[..]));
        known.load(&vec![b' '; BYTES_MAX]);
        assert!(!known.scripts.contains_key(&digest) && known.script_bytes == BYTES_MAX);
        assert_eq!(read_digest(b"e0e1"), None);
    }

    #[test]
    fn a_library_is_known_by_the_name_that_it_gives_itself() {
        assert_eq!(library_name(b"#!lua name=mine\nredis.register_function"), Some(&b"mine"[..]));
        assert_eq!(library_name(b"return 1"), None);
    }
}
