//! Which words of a request are credentials.

use respguard_resp::request::Args;

/// Commands of which some word can be a credential, or that carry a whole command.
const SUSPECTS: [&str; 10] =
    ["AUTH", "HELLO", "ACL", "CONFIG", "MIGRATE", "SENTINEL", "MODULE", "COMMAND", "FT.CONFIG", "_FT.CONFIG"];
/// Commands by which the managers of modules tell shards of each other, passwords included.
const SHARDS: &[u8] = b".CLUSTERSET";
/// Rules of ACL SETUSER that are words; of others the first byte tells what they are.
const USER_RULES: [&str; 16] = [
    "on",
    "off",
    "nopass",
    "resetpass",
    "reset",
    "sanitize-payload",
    "skip-sanitize-payload",
    "allkeys",
    "resetkeys",
    "allchannels",
    "resetchannels",
    "allcommands",
    "nocommands",
    "alldbs",
    "resetdbs",
    "clearselectors",
];
/// How deep commands are looked for within commands. What lies deeper is hidden whole.
const DEPTH_MAX: usize = 3;

/// True when a request that begins with this word may carry credentials; which of its words they are is known when it
/// is whole.
pub fn may_carry_credentials(name: &[u8]) -> bool {
    SUSPECTS.iter().any(|suspect| is(name, suspect)) || tells_shards(name)
}

/// True when the word at `at` must not be shown to anybody: passwords, and what may be one by a slip of the sender.
///
/// <https://redis.io/docs/latest/commands/auth/>, `hello`, `acl-setuser`, `acl-dryrun`, `config-set`, `migrate`,
/// `module-load`, `module-loadex` and `command-getkeys` beside it;
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/> for SENTINEL SET and SENTINEL CONFIG SET.
pub fn is_credential(args: Args<'_>, at: usize) -> bool {
    let (mut args, mut at) = (args, at);
    for _ in 0..DEPTH_MAX {
        let Some(start) = carried(args) else { return is_own_credential(args, at) };
        if at < start {
            return false;
        }
        (args, at) = (args.from(start), at - start);
    }
    true
}

/// Where the command begins that this one is about.
fn carried(args: Args<'_>) -> Option<usize> {
    let word = |at: usize| args.get(at).unwrap_or_default();
    let asks_for_keys = is(word(1), "GETKEYS") || is(word(1), "GETKEYSANDFLAGS");
    if is(word(0), "COMMAND") && asks_for_keys {
        return Some(2);
    }
    (is(word(0), "ACL") && is(word(1), "DRYRUN")).then_some(3)
}

fn is_own_credential(args: Args<'_>, at: usize) -> bool {
    let word = |at: usize| args.get(at).unwrap_or_default();
    let behind = |option: &str, distance: usize| at >= distance && is(word(at - distance), option);
    let name = word(0);
    if is(name, "AUTH") || tells_shards(name) {
        return at >= 1;
    }
    if is(name, "HELLO") {
        return at >= 2 && (behind("AUTH", 1) || behind("AUTH", 2));
    }
    if is(name, "ACL") {
        return at >= 3 && is(word(1), "SETUSER") && !is_user_rule(word(at));
    }
    if is(name, "CONFIG") || is(name, "FT.CONFIG") || is(name, "_FT.CONFIG") {
        return at >= 3 && is(word(1), "SET") && is_secret_value(args, 2, at);
    }
    if is(name, "SENTINEL") {
        let sets = is(word(1), "SET") || is(word(1), "CONFIG") && is(word(2), "SET");
        // Who knows what a command was renamed to may use it.
        let renamed = at >= 5 && behind("rename-command", 2);
        return at >= 4 && sets && (is_secret_value(args, 3, at) || renamed);
    }
    if is(name, "MODULE") {
        // What a module takes is known to the module alone.
        return at >= 3 && (is(word(1), "LOAD") || is(word(1), "LOADEX"));
    }
    let of_migrate = behind("AUTH", 1) || behind("AUTH2", 1) || behind("AUTH2", 2);
    is(name, "MIGRATE") && at >= 2 && of_migrate
}

/// Whether the word stands behind the name of a secret setting, where names and values take turns from `first` on; also
/// where the sender has left one out.
fn is_secret_value(args: Args<'_>, first: usize, at: usize) -> bool {
    let secret = |at: usize| args.get(at).is_some_and(names_a_secret);
    let is_value = at.abs_diff(first) % 2 == 1;
    secret(at - 1) && (is_value || !secret(at - 2))
}

fn is(word: &[u8], wanted: &str) -> bool {
    word.eq_ignore_ascii_case(wanted.as_bytes())
}

fn tells_shards(name: &[u8]) -> bool {
    let start = name.len().saturating_sub(SHARDS.len());
    name.get(start..).is_some_and(|ending| ending.eq_ignore_ascii_case(SHARDS))
}

/// Whether the word is a rule without a password. Anything else is one, or was meant to be.
fn is_user_rule(word: &[u8]) -> bool {
    let own = word.strip_prefix(b"(").unwrap_or(word);
    let own = own.strip_suffix(b")").unwrap_or(own);
    let told_by_its_beginning = own.first().is_none_or(|first| b"~%&+-".contains(first));
    let databases = own.get(..3).is_some_and(|start| is(start, "db="));
    told_by_its_beginning || databases || USER_RULES.iter().any(|rule| is(own, rule))
}

/// `requirepass`, `masterauth`, `auth-pass`, `tls-key-file-pass` and whatever a server or a module may have of this kind.
fn names_a_secret(setting: &[u8]) -> bool {
    let parts = ["pass", "auth", "secret", "token", "credential"];
    parts.iter().any(|part| setting.windows(part.len()).any(|window| is(window, part)))
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
            ("ACL SETUSER app on >secret ~k:* +@all #abc <old !def", "ACL SETUSER app on .. ~k:* +@all .. .. .."),
            (
                "ACL SETUSER app reset secret %R~a &c -set (+get ~b allkeys) db=1",
                "ACL SETUSER app reset .. %R~a &c -set (+get ~b allkeys) db=1",
            ),
            ("ACL WHOAMI", "ACL WHOAMI"),
            ("ACL DRYRUN app AUTH x secret", "ACL DRYRUN app AUTH .. .."),
            ("ACL DRYRUN app SET k v", "ACL DRYRUN app SET k v"),
            ("CONFIG SET maxmemory 1 requirepass secret masterauth s", "CONFIG SET maxmemory 1 requirepass .. masterauth .."),
            (
                "CONFIG SET primaryauth s tls-key-file-pass s tls-client-key-file-pass s",
                "CONFIG SET primaryauth .. tls-key-file-pass .. tls-client-key-file-pass ..",
            ),
            ("CONFIG SET ldap.search_bind_passwd s my.api-token s", "CONFIG SET ldap.search_bind_passwd .. my.api-token .."),
            ("CONFIG SET maxmemory requirepass secret", "CONFIG SET maxmemory requirepass .."),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("FT.CONFIG SET OSS_GLOBAL_PASSWORD s", "FT.CONFIG SET OSS_GLOBAL_PASSWORD .."),
            ("FT.CONFIG SET TIMEOUT 5", "FT.CONFIG SET TIMEOUT 5"),
            ("SENTINEL SET m auth-pass secret quorum 2", "SENTINEL SET m auth-pass .. quorum 2"),
            ("sentinel set m auth-user app down-after-milliseconds 5", "sentinel set m auth-user .. down-after-milliseconds 5"),
            ("SENTINEL SET m rename-command CONFIG guessme quorum 2", "SENTINEL SET m rename-command CONFIG .. quorum 2"),
            ("SENTINEL CONFIG SET sentinel-pass secret announce-port 1", "SENTINEL CONFIG SET sentinel-pass .. announce-port 1"),
            ("SENTINEL MONITOR m host 6379 2", "SENTINEL MONITOR m host 6379 2"),
            ("MODULE LOAD m.so PASSWORD s", "MODULE LOAD m.so .. .."),
            ("MODULE LOADEX m.so CONFIG m.pass s ARGS s", "MODULE LOADEX m.so .. .. .. .. .."),
            ("MODULE LIST", "MODULE LIST"),
            ("SEARCH.CLUSTERSET MYID 1 ADDR s@h:1", "SEARCH.CLUSTERSET .. .. .. .."),
            ("MIGRATE h 1 k 0 9 AUTH secret", "MIGRATE h 1 k 0 9 AUTH .."),
            ("MIGRATE h 1 k 0 9 AUTH2 app secret KEYS a", "MIGRATE h 1 k 0 9 AUTH2 .. .. KEYS a"),
            ("COMMAND GETKEYS MIGRATE h 1 k 0 9 AUTH secret", "COMMAND GETKEYS MIGRATE h 1 k 0 9 AUTH .."),
            ("COMMAND GETKEYSANDFLAGS AUTH secret", "COMMAND GETKEYSANDFLAGS AUTH .."),
            ("COMMAND GETKEYS ACL DRYRUN app AUTH s", "COMMAND GETKEYS ACL DRYRUN app AUTH .."),
            ("COMMAND GETKEYS COMMAND GETKEYS COMMAND GETKEYS AUTH s", "COMMAND GETKEYS COMMAND GETKEYS COMMAND GETKEYS .. .."),
            ("COMMAND DOCS auth", "COMMAND DOCS auth"),
            ("REPLICAOF host 6379", "REPLICAOF host 6379"),
            ("FAILOVER TO host 6379 FORCE TIMEOUT 5", "FAILOVER TO host 6379 FORCE TIMEOUT 5"),
            ("CLUSTER MEET host 6379", "CLUSTER MEET host 6379"),
            ("SET auth value", "SET auth value"),
        ] {
            assert_eq!(shown(line), wanted);
        }
    }

    #[test]
    fn every_command_with_credentials_is_suspected_by_its_name() {
        for name in
            ["AUTH", "hello", "Acl", "config", "MIGRATE", "sentinel", "Module", "command", "ft.config", "graph.clusterset"]
        {
            assert!(may_carry_credentials(name.as_bytes()), "{name}");
        }
        assert!(!may_carry_credentials(b"SET") && !may_carry_credentials(b"AUT") && !may_carry_credentials(b""));
    }
}
