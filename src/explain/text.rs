//! The wording for the engine's types.

use std::ops::Range;
use std::time::Duration;

use super::page::{request, word};
use respguard_engine::command::{ClientCommand, ConnectionEffect, PinReason, Table, Transaction, TtlEffect};
use respguard_engine::pipeline::plan::Answer;
use respguard_engine::pipeline::probe::Probe;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::rule::Word;
use respguard_engine::policy::{OnDuplicate, OnPartial, TtlRule, Why};
use respguard_engine::session::affinity::Reason;
use respguard_engine::session::lane::LaneChange;
use respguard_resp::scan::elements;
use respguard_resp::{Protocol, value};

/// The numbers of consecutive commands: `4`, `4-6`.
pub(super) fn numbers(range: Range<usize>) -> String {
    match range.len() {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    }
}

/// What the client reads in a place of this role.
pub(super) fn reply(role: &Role) -> String {
    match role {
        Role::Plain | Role::ReadAhead(_) => "the server's reply".to_owned(),
        Role::Multi => "the server's reply; the client's own transaction begins".to_owned(),
        Role::Queued => "the server's reply, in the client's own transaction".to_owned(),
        Role::Exec | Role::ExecRead(_) => "the server's reply; the client's own transaction ends".to_owned(),
        Role::Subscription { frames, .. } => format!("the server's confirmations, {frames} in all"),
        Role::UnsubscribeAll(_) => "the server's confirmations, one for each subscription".to_owned(),
        Role::Hello => "the server's reply, with the id that the client has at the proxy".to_owned(),
        Role::Lane => "the server's reply".to_owned(),
        Role::Mode(..) => "the server's reply".to_owned(),
        Role::Redirect => "the server's reply, with the proxy's id of the client it names".to_owned(),
        Role::Unblock => "the server's reply".to_owned(),
        Role::Verdict => "the server's reply if it is an error, else the proxy's own".to_owned(),
        Role::ProxyReply | Role::Buffered(_) => "the proxy's own reply".to_owned(),
        Role::Member | Role::Group(_) | Role::Held => "its own element of the array that EXEC answers".to_owned(),
        Role::Discard => "not for the client: nobody needs it".to_owned(),
        Role::QueuedChecked(_) => "the server's reply, in the client's own transaction, unless a rule says otherwise".to_owned(),
        Role::Checked(_) => "the server's reply, unless a rule says otherwise".to_owned(),
        Role::Refused(_) => "the proxy's own reply: an error; EXEC will abort".to_owned(),
    }
}

/// What becomes of a group with a marker whose connection is lost.
pub(super) const SETTLED: &str = "it is sent again if the marker is not there, else every member answers COMMITTED";

/// What the proxy answers by itself.
pub(super) fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Refuse(_) => "the proxy's own reply: an error",
        Answer::Ok => "the proxy's own reply: OK, in a transaction whose connection is gone",
        Answer::Queued => "the proxy's own reply: QUEUED, in a transaction whose connection is gone",
        Answer::Degraded { .. } => "the proxy's own reply, by a degrade rule: there is no server",
        Answer::NoReplica => "the proxy's own reply: an error, for a replica must be connected to the server itself",
        Answer::ExecAbort => "the proxy's own reply: EXECABORT, for a transaction whose connection is gone",
    }
}

/// What CLIENT commands are answered from.
pub(super) fn local_answer(local: ClientCommand) -> &'static str {
    match local {
        ClientCommand::ClientSetName | ClientCommand::ClientSetInfo => {
            "the proxy's own reply; the proxy notes it about this client"
        }
        ClientCommand::ClientGetName | ClientCommand::ClientId | ClientCommand::ClientInfo => {
            "the proxy's own reply: what it knows about this client"
        }
        ClientCommand::ClientReply => "+OK for ON, else none; the proxy leaves replies out, the server never does",
        ClientCommand::ClientList => "the proxy's own reply: its own clients",
        ClientCommand::ClientKill => "the proxy's own reply: it closes clients of its own",
        ClientCommand::ClientTracking => {
            "the server's reply; the client keeps a connection of its own, and REDIRECT names that of another client"
        }
        ClientCommand::ClientGetRedir | ClientCommand::ClientTrackingInfo => {
            "the server's reply, with the proxy's id of the client it names"
        }
        ClientCommand::ClientMaintNotifications => {
            "the proxy's own reply with RESP3: it tells this client before it ends; with RESP2 the server's reply"
        }
        ClientCommand::ClientUnblock => {
            "the server's reply, asked about the connection of that client of the proxy; 0 if there is none"
        }
    }
}

/// What it is about the command that pins: the word of its own where it has one.
pub(super) fn cause(effect: ConnectionEffect) -> Option<&'static str> {
    match effect {
        ConnectionEffect::Pin(reason) => Some(reason.as_str()),
        ConnectionEffect::ClientCommand(ClientCommand::ClientTracking) => Some(PinReason::Tracking.as_str()),
        ConnectionEffect::Transaction(Transaction::Multi) => {
            Some("its EXEC is not there, or something before it does more than read and write keys")
        }
        _ => None,
    }
}

/// How long a client stays on a connection of its own.
pub(super) fn duration(reason: Reason) -> &'static str {
    match reason {
        Reason::Transaction => "until its transaction and its WATCH end",
        Reason::Subscription => "until its last subscription ends",
        Reason::Blocking | Reason::Large | Reason::Bulky => "until this is answered",
        Reason::Exclusive => "for as long as it is connected",
        Reason::Tunnel => "for as long as it is connected; all bytes pass unread, both ways",
    }
}

/// What the command does to a key's time to live.
pub(super) fn ttl_effect(effect: TtlEffect) -> String {
    match effect {
        TtlEffect::Set { milliseconds, conditional } => {
            let time = match milliseconds.map(u64::try_from) {
                Some(Ok(milliseconds)) => format!("set to {:?}", Duration::from_millis(milliseconds)),
                Some(Err(_)) => "set to a time in the past".to_owned(),
                None => "set, but how far from now cannot be told".to_owned(),
            };
            if conditional { format!("{time}, under a condition") } else { time }
        }
        TtlEffect::SetAt { conditional, .. } => {
            let time = "set to a moment".to_owned();
            if conditional { format!("{time}, under a condition") } else { time }
        }
        TtlEffect::Create => "a new key has none; an existing key keeps its TTL".to_owned(),
        TtlEffect::Drop => "dropped; a new key has none".to_owned(),
        TtlEffect::KeepOrCreate => "kept; a new key has none".to_owned(),
        TtlEffect::Keep => "kept; no key is created".to_owned(),
        TtlEffect::Persist => "dropped; no key is created".to_owned(),
        TtlEffect::Delete => "the key is gone".to_owned(),
        TtlEffect::Inherit => "that of the key it comes from, or none".to_owned(),
        TtlEffect::Unknown => "not known".to_owned(),
    }
}

/// What a PTTL of the proxy's own is good for.
pub(super) fn probe(probe: &Probe, table: &Table) -> String {
    let command = table.spec(probe.command).shown();
    if probe.before {
        format!("to know which TTL {command} drops")
    } else {
        format!("{command} may leave the key without the TTL")
    }
}

/// What follows when a key has no time to live right behind its write.
pub(super) fn without_ttl(rule: &TtlRule) -> String {
    format!(
        "asked again {:?} later, and reported as {}, as {} if it had one before, as {} if it has one by then",
        rule.grace,
        Kind::TtlMissing,
        Kind::TtlDropped,
        Kind::TtlLate
    )
}

/// What becomes of a group that was applied before.
pub(super) fn on_duplicate(on_duplicate: OnDuplicate) -> String {
    match on_duplicate {
        OnDuplicate::Error => format!("nothing is applied and every member answers -DUPLICATE; reported as {}", Kind::Duplicate),
        OnDuplicate::Replay => "nothing is applied and every member answers what it did then, or -DUPLICATE".to_owned(),
    }
}

/// What clients see of a group of which some members fail when they run.
pub(super) fn on_partial(on_partial: OnPartial) -> String {
    let replies = match on_partial {
        OnPartial::Report => "the replies stay as they are",
        OnPartial::Fail => "every member answers PARTIAL",
    };
    format!("{replies} (on_partial = {}); reported as {}", on_partial.as_str(), Kind::PartialFailure)
}

/// Why the command with this number is not the member that should have come.
pub(super) fn why(why: Why<'_, '_>, number: usize) -> String {
    match why {
        Why::End => "nothing more came in this batch".to_owned(),
        Why::OtherCommand => format!("{number} is another command"),
        Why::Blocking => format!("{number} may block"),
        Why::OtherArguments => format!("the arguments of {number} have another form"),
        Why::Capture { name, bound, found } => {
            format!("{{{name}}} is {} so far and {} in {number}", word(bound), word(found))
        }
    }
}

/// What a client asks for with HELLO, AUTH or SELECT; never its password.
pub(super) fn lane(change: &LaneChange) -> String {
    let user = change.login.as_ref().map(|login| match login.user() {
        b"default" => "the default user".to_owned(),
        user => format!("user {}", word(user)),
    });
    let protocol = change.protocol.map(|protocol| match protocol {
        Protocol::Resp2 => "RESP2".to_owned(),
        Protocol::Resp3 => "RESP3".to_owned(),
    });
    let db = change.db.map(|db| format!("db {db}"));
    let name = change.name.as_deref().map(|name| format!("name {}", word(name)));
    [user, protocol, db, name].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A request of the proxy's own as it would be typed.
pub(super) fn wire(bytes: &[u8]) -> String {
    let words: Vec<&[u8]> = elements(bytes).filter_map(value::bulk).collect();
    request(words.into_iter())
}
