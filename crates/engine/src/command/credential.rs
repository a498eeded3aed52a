//! Which arguments of a request are credentials.

use respguard_resp::request::Args;

/// Commands of which some word can be a credential.
const SUSPECTS: [&str; 5] = ["AUTH", "HELLO", "ACL", "CONFIG", "MIGRATE"];

/// True when a request that begins with this word may carry credentials; which of its words they are is known when it
/// is whole.
pub(crate) fn may_carry_credentials(name: &[u8]) -> bool {
    SUSPECTS.iter().any(|suspect| is(name, suspect))
}

/// True when the word at `at` must not be shown to anybody: passwords, and what may be one by a slip of the sender.
///
/// <https://redis.io/docs/latest/commands/auth/>, `hello`, `acl-setuser`, `config-set` and `migrate` beside it.
pub fn is_credential(args: Args<'_>, at: usize) -> bool {
    let word = |at: usize| args.get(at).unwrap_or_default();
    let behind = |option: &str, distance: usize| at >= distance && is(word(at - distance), option);
    let name = word(0);
    if is(name, "AUTH") {
        return at >= 1;
    }
    if is(name, "HELLO") {
        return at >= 2 && (behind("AUTH", 1) || behind("AUTH", 2));
    }
    if is(name, "ACL") {
        return at >= 3 && is(word(1), "SETUSER") && matches!(word(at).first(), Some(b'>' | b'<' | b'#' | b'!'));
    }
    if is(name, "CONFIG") {
        return at >= 3 && at % 2 == 1 && is(word(1), "SET") && names_a_secret(word(at - 1));
    }
    let of_migrate = behind("AUTH", 1) || behind("AUTH2", 1) || behind("AUTH2", 2);
    is(name, "MIGRATE") && at >= 2 && of_migrate
}

fn is(word: &[u8], wanted: &str) -> bool {
    word.eq_ignore_ascii_case(wanted.as_bytes())
}

/// `requirepass`, `masterauth`, `tls-key-file-pass` and whatever a server may have of this kind.
fn names_a_secret(setting: &[u8]) -> bool {
    ["pass", "auth"].iter().any(|part| setting.windows(part.len()).any(|window| is(window, part)))
}

#[cfg(test)]
mod tests {
    use super::super::written::WrittenRequest;
    use super::*;

    /// The words, hidden ones as dots.
    fn shown(line: &str) -> String {
        let written = WrittenRequest::new(line);
        let args = written.args();
        let words = args.iter().enumerate().map(|(at, word)| match is_credential(args, at) {
            true => "..".to_owned(),
            false => String::from_utf8_lossy(word).into_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        for (line, wanted) in [
            ("auth secret", "auth .."),
            ("AUTH app secret", "AUTH .. .."),
            ("HELLO 3 AUTH app secret SETNAME x", "HELLO 3 AUTH .. .. SETNAME x"),
            ("HELLO 3", "HELLO 3"),
            ("ACL SETUSER app on >secret ~k:* +@all #abc", "ACL SETUSER app on .. ~k:* +@all .."),
            ("ACL WHOAMI", "ACL WHOAMI"),
            ("CONFIG SET maxmemory 1 requirepass secret masterauth s", "CONFIG SET maxmemory 1 requirepass .. masterauth .."),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("MIGRATE h 1 k 0 9 AUTH secret", "MIGRATE h 1 k 0 9 AUTH .."),
            ("MIGRATE h 1 k 0 9 AUTH2 app secret KEYS a", "MIGRATE h 1 k 0 9 AUTH2 .. .. KEYS a"),
            ("SET auth value", "SET auth value"),
        ] {
            assert_eq!(shown(line), wanted);
        }
    }

    #[test]
    fn every_command_with_credentials_is_suspected_by_its_name() {
        for name in ["AUTH", "hello", "Acl", "config", "MIGRATE"] {
            assert!(may_carry_credentials(name.as_bytes()), "{name}");
        }
        assert!(!may_carry_credentials(b"SET") && !may_carry_credentials(b"AUT"));
    }
}
