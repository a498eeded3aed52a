//! Which commands can be run over HTTP, where one request is one conversation that ends with its last reply.

use std::time::Duration;

use respguard_engine::command::{BlockFor, ClientCommand, ConnectionEffect, PinReason, Spec, Transaction};
use respguard_resp::request::Args;

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// It is answered OK: there is nothing to be done.
    Done,
    Refuse(String),
}

/// What the token allows, and how long a command may wait.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    pub read_only: bool,
    pub longest_wait: Duration,
}

/// Whether a command can be run.
pub fn admit(spec: &Spec, args: Args<'_>, rights: Rights) -> Verdict {
    if let Some(instead) = instead(spec, args, rights.longest_wait) {
        let name = spec.name().replace('|', " ");
        return Verdict::Refuse(format!("ERR respguard: '{name}' cannot be run over HTTP: {instead}"));
    }
    if spec.connection == ConnectionEffect::ClientCommand(ClientCommand::ClientSetInfo) {
        return Verdict::Done;
    }
    if rights.read_only && !may_read(spec) {
        let name = String::from_utf8_lossy(args.get(0).unwrap_or_default()).to_lowercase();
        // The name is the client's own, and may be long.
        let name: String = name.chars().take(64).collect();
        return Verdict::Refuse(format!("NOPERM this token may only read: it has no permissions to run the '{name}' command"));
    }
    Verdict::Send
}

/// What a read-only token may do: what reads, but for what walks all keys.
fn may_read(spec: &Spec) -> bool {
    spec.is_readonly() && !matches!(spec.name(), "scan" | "keys") || matches!(spec.name(), "ping" | "echo" | "time")
}

/// Why not, and what there is in its place.
fn instead(spec: &Spec, args: Args<'_>, longest_wait: Duration) -> Option<String> {
    const STATE: &str = "it is about the connection, and each request has another one";
    let instead = match spec.connection {
        ConnectionEffect::Lane(_) => "the token decides which user and database it acts for",
        ConnectionEffect::Transaction(Transaction::Watch | Transaction::Unwatch) => "each request has a connection of its own",
        ConnectionEffect::Transaction(_) => "send the commands to /multi-exec",
        ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => "request /subscribe or /psubscribe",
        ConnectionEffect::Monitor => "request /monitor",
        ConnectionEffect::Quit | ConnectionEffect::Reset => STATE,
        ConnectionEffect::ClientCommand(command) => match command {
            ClientCommand::ClientSetInfo
            | ClientCommand::ClientList
            | ClientCommand::ClientKill
            | ClientCommand::ClientUnblock => return None,
            _ => STATE,
        },
        ConnectionEffect::Pin(reason) => match reason {
            PinReason::Wait => return too_long(spec, args, longest_wait),
            PinReason::Unknown | PinReason::Debug => return None,
            PinReason::Shutdown => "no reply would come",
            _ => STATE,
        },
        ConnectionEffect::Blocking => return too_long(spec, args, longest_wait),
        ConnectionEffect::None | ConnectionEffect::Spare => return None,
    };
    Some(instead.to_owned())
}

/// A command that may wait longer than a request may take.
fn too_long(spec: &Spec, args: Args<'_>, longest: Duration) -> Option<String> {
    match spec.blocking_timeout(args)? {
        BlockFor::AtMost(timeout) if timeout <= longest => None,
        BlockFor::AtMost(_) | BlockFor::Forever => {
            Some(format!("it may wait for at most {} ms (request_timeout_ms), and not for ever", longest.as_millis()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rest::json::Arguments;
    use respguard_engine::command::Table;

    fn verdict(line: &str, read_only: bool) -> Verdict {
        let (table, mut arguments) = (Table::builtin(), Arguments::default());
        line.split(' ').for_each(|word| arguments.push(word.as_bytes()));
        let spec = table.spec(table.lookup(arguments.args()));
        admit(spec, arguments.args(), Rights { read_only, longest_wait: Duration::from_millis(1500) })
    }

    #[test]
    fn what_is_about_a_connection_is_refused_with_what_there_is_instead() {
        for (line, wanted) in [
            ("SUBSCRIBE c", "'subscribe' cannot be run over HTTP: request /subscribe"),
            ("punsubscribe", "request /subscribe or /psubscribe"),
            ("MONITOR", "request /monitor"),
            ("multi", "send the commands to /multi-exec"),
            ("EXEC", "/multi-exec"),
            ("WATCH k", "connection of its own"),
            ("SELECT 1", "the token decides"),
            ("AUTH p", "the token decides"),
            ("HELLO 3", "the token decides"),
            ("QUIT", "about the connection"),
            ("RESET", "about the connection"),
            ("CLIENT REPLY OFF", "'client reply' cannot"),
            ("CLIENT TRACKING ON", "about the connection"),
            ("CLIENT ID", "about the connection"),
            ("CLIENT NO-EVICT ON", "about the connection"),
            ("SYNC", "about the connection"),
            ("SHUTDOWN", "no reply"),
            ("BLPOP l 0", "it may wait for at most 1500 ms"),
            ("BLPOP l 1.6", "it may wait for at most 1500 ms"),
            ("XREAD BLOCK 0 STREAMS s $", "at most 1500 ms"),
            ("WAIT 1 0", "at most 1500 ms"),
        ] {
            let Verdict::Refuse(error) = verdict(line, false) else { panic!("{line} is sent") };
            assert!(error.starts_with("ERR respguard: ") && error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn everything_else_is_sent() {
        for line in [
            "get k",
            "BLPOP l 1.5",
            "BLPOP l x",
            "XREAD STREAMS s 0",
            "EVAL x 0",
            "JSON.GET k",
            "NOSUCH",
            "CLIENT LIST",
            "CLIENT NOSUCH",
            "SCRIPT KILL",
            "FLUSHALL",
            "WAIT 0 100",
            "",
        ] {
            assert_eq!(verdict(line, false), Verdict::Send, "{line}");
        }
        assert_eq!(verdict("client setinfo LIB-NAME x", false), Verdict::Done);
    }

    #[test]
    fn a_read_only_token_reads_and_does_not_walk_all_keys() {
        for line in ["GET k", "hgetall h", "ZRANGE z 0 -1", "PING", "DBSIZE", "HSCAN h 0", "EVAL_RO s 0", "XREAD STREAMS s 0"] {
            assert_eq!(verdict(line, true), Verdict::Send, "{line}");
        }
        for line in [
            "SET k v",
            "DEL k",
            "SCAN 0",
            "KEYS *",
            "EVAL s 0",
            "PUBLISH c m",
            "FLUSHALL",
            "CONFIG GET x",
            "NOSUCH",
            "CLIENT LIST",
        ] {
            assert!(matches!(verdict(line, true), Verdict::Refuse(error) if error.starts_with("NOPERM ")), "{line}");
        }
    }
}
