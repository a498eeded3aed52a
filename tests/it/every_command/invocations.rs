//! Ways to call every command that a server says it has: none, too few, too many and plausible arguments.

use respguard_resp::scan::elements;
use respguard_resp::value;

/// What COMMAND tells about one command or subcommand (<https://redis.io/docs/latest/commands/command/>).
#[derive(Debug)]
pub struct Known {
    /// `get`, or `config|get`.
    pub name: String,
    pub arity: i64,
    first_key: i64,
    last_key: i64,
    key_step: i64,
}

/// Reads the answer to COMMAND.
pub fn known(reply: &[u8]) -> Vec<Known> {
    let mut all = Vec::new();
    collect(reply, &mut all);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn collect(list: &[u8], all: &mut Vec<Known>) {
    for command in elements(list) {
        let parts: Vec<_> = elements(command).collect();
        let number = |at: usize| parts.get(at).and_then(|part| value::integer(part)).unwrap_or_default();
        let name = parts.first().and_then(|part| value::bulk(part)).expect("a command has a name");
        all.push(Known {
            // Commands of modules are listed in the letters that their module gave them.
            name: String::from_utf8_lossy(name).to_lowercase(),
            arity: number(1),
            first_key: number(3),
            last_key: number(4),
            key_step: number(5),
        });
        if let Some(subcommands) = parts.get(9) {
            collect(subcommands, all);
        }
    }
}

impl Known {
    /// The words that name it.
    pub fn words(&self) -> Vec<String> {
        self.name.split('|').map(str::to_owned).collect()
    }

    /// Calls without arguments, with one and two, with one too few, as many as there must be, and more.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let named = self.words().len();
        let least = usize::try_from(self.arity.unsigned_abs()).unwrap_or(1).max(named);
        let mut lengths =
            vec![named, named + 1, named + 2, least.saturating_sub(1).max(named), least, least + 1, least + 2, least + 5];
        lengths.sort_unstable();
        lengths.dedup();
        let mut calls: Vec<_> = lengths.iter().flat_map(|&length| [self.call(length, "1"), self.call(length, "x")]).collect();
        calls.push(self.call(least, "-1"));
        calls.push(self.call(least, ""));
        // In the letters that nobody writes.
        let mixed = self
            .call(least, "1")
            .iter()
            .enumerate()
            .map(|(at, word)| if at < named { alternate(word) } else { word.clone() })
            .collect();
        calls.push(mixed);
        calls.dedup();
        calls
    }

    /// So many words, the name's included: keys where the server says that keys are, else `filler`.
    fn call(&self, length: usize, filler: &str) -> Vec<String> {
        let mut words = self.words();
        while words.len() < length {
            let at = i64::try_from(words.len()).unwrap_or(i64::MAX);
            let last = if self.last_key < 0 { i64::try_from(length).unwrap_or(i64::MAX) + self.last_key } else { self.last_key };
            let is_key =
                self.first_key > 0 && at >= self.first_key && at <= last && (at - self.first_key) % self.key_step.max(1) == 0;
            words.push(if is_key { "k".to_owned() } else { filler.to_owned() });
        }
        words
    }
}

fn alternate(word: &str) -> String {
    word.chars().enumerate().map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect()
}
