//! The proxy's replies to CLIENT commands about its own clients: the server knows only the proxy's connections.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::notices;
use crate::net::registry::{Activity, Client, Registry};
use respguard_engine::command::ClientCommand;
use respguard_engine::command::integer::integer;
use respguard_engine::link::handshake::ClientFields;
use respguard_engine::session::lane::is_name;
use respguard_engine::session::tracking::Redirect;
use respguard_resp::Protocol;
use respguard_resp::encode;
use respguard_resp::request::Args;

/// The client that asks, and whom it may ask about.
pub struct Asker<'a> {
    pub client: &'a Client,
    pub registry: &'a Registry,
    /// In which the answer is written.
    pub protocol: Protocol,
    /// What those clients are doing that are asked about, by their ids.
    pub activities: &'a HashMap<u64, Activity>,
    /// What the server tells about its clients.
    pub fields: ClientFields,
}

impl Asker<'_> {
    /// The reply to a command that the server allows to this client.
    pub fn answer(&self, command: ClientCommand, args: Args<'_>) -> LocalReply {
        let mut local = LocalReply::default();
        let out = &mut local.reply;
        match command {
            ClientCommand::ClientId => encode::integer(out, i64::try_from(self.client.id).unwrap_or(i64::MAX)),
            ClientCommand::ClientGetName => self.get_name(out),
            ClientCommand::ClientSetName => set_name(self.client, args.get(2).unwrap_or_default(), out),
            ClientCommand::ClientSetInfo => set_info(self.client, args, out),
            ClientCommand::ClientInfo => {
                let mut text = String::new();
                self.describe(self.client, &mut text);
                self.text_reply(&text, out);
            }
            ClientCommand::ClientList => self.list(args, out),
            ClientCommand::ClientKill => local = self.kill(args),
            ClientCommand::ClientMaintNotifications => notices::change(self.client, args, out),
            // The server's own reply counts.
            ClientCommand::ClientUnblock
            | ClientCommand::ClientReply
            | ClientCommand::ClientTracking
            | ClientCommand::ClientGetRedir
            | ClientCommand::ClientTrackingInfo => {}
        }
        local
    }

    /// <https://redis.io/docs/latest/commands/client-getname/>
    fn get_name(&self, out: &mut Vec<u8>) {
        let name = self.client.details().name;
        if name.is_empty() { encode::null(out, self.protocol) } else { encode::bulk(out, &name) }
    }

    /// <https://redis.io/docs/latest/commands/client-list/>
    fn list(&self, args: Args<'_>, out: &mut Vec<u8>) {
        let clients = match (args.get(2), args.get(3)) {
            (None, _) => self.registry.clients(),
            (Some(word), Some(kind)) if word.eq_ignore_ascii_case(b"type") && args.len() == 4 => {
                if !kind.eq_ignore_ascii_case(b"normal") && !is_client_type(kind) {
                    return encode::error(out, &format!("ERR Unknown client type '{}'", String::from_utf8_lossy(kind)));
                }
                let mut clients = self.registry.clients();
                clients.retain(|client| kind.eq_ignore_ascii_case(self.kind(client)));
                clients
            }
            (Some(word), Some(_)) if word.eq_ignore_ascii_case(b"id") => {
                // What is no id was refused by the server; no client has an id that is not positive.
                args.from(3).iter().filter_map(id_of).filter_map(|id| self.registry.client(id)).collect()
            }
            _ => return encode::error(out, "ERR syntax error"),
        };
        let mut text = String::new();
        for client in &clients {
            self.describe(client, &mut text);
        }
        self.text_reply(&text, out);
    }

    /// <https://redis.io/docs/latest/commands/client-kill/>
    fn kill(&self, args: Args<'_>) -> LocalReply {
        let is_by_address = args.len() == 3;
        let filter = match is_by_address {
            true => Ok(Filter { peer: args.get(2).map(Into::into), ..Filter::default() }),
            false => Filter::read(args),
        };
        let filter = match filter {
            Ok(filter) => filter,
            Err(error) => return LocalReply { reply: encode::error_reply(&error), killed: Vec::new() },
        };
        let taken = |other: &Arc<Client>| filter.takes(other, self.kind(other), self.client.id) && other.kill();
        let killed: Vec<_> = self.registry.clients().into_iter().filter(taken).collect();
        let mut reply = Vec::new();
        match (is_by_address, killed.len()) {
            (true, 0) => encode::error(&mut reply, "ERR No such client"),
            (true, _) => encode::simple(&mut reply, "OK"),
            (false, number) => encode::integer(&mut reply, i64::try_from(number).unwrap_or(i64::MAX)),
        }
        LocalReply { killed, reply }
    }

    /// What TYPE means: subscribers are no normal clients.
    fn kind(&self, client: &Client) -> &'static [u8] {
        let is_subscribed = |activity: &Activity| activity.channels + activity.patterns + activity.shard_channels > 0;
        if self.activities.get(&client.id).is_some_and(is_subscribed) { b"pubsub" } else { b"normal" }
    }

    /// One line with the server's fields in their order, and at least those of Redis 7.0: client libraries insist on some
    /// of them, and wait for what others say. Those that the proxy does not keep say that there is nothing.
    fn describe(&self, client: &Client, text: &mut String) {
        let (details, unknown) = (client.details(), Activity::default());
        let doing = self.activities.get(&client.id).unwrap_or(&unknown);
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let tracking = doing.tracking;
        let redirect = if tracking.on { tracking.redirect.map_or(0, |redirect| redirect.client.cast_signed()) } else { -1 };
        let (input, room) = doing.input;
        let where_known = |known: bool, text: &'static str| if known { text } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={}{} db={} sub={} psub={} ssub={} multi={}{} qbuf={} \
             qbuf-free={} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem=0 tot-mem={} events={} cmd={} user={} redir={} \
             resp={} lib-name={} lib-ver={}{}{}",
            client.id,
            client.peer,
            client.local,
            word(&details.name),
            client.connected_at.elapsed().as_secs(),
            doing.idle.as_secs(),
            self.flags(client, doing),
            where_known(self.fields.capa, " capa="),
            details.db,
            doing.channels,
            doing.patterns,
            doing.shard_channels,
            doing.queued.map_or(-1, i64::from),
            where_known(self.fields.watch, " watch=0"),
            input,
            room,
            doing.output,
            input + room + doing.output,
            if doing.output > 0 { "rw" } else { "r" },
            if doing.command.is_empty() { "NULL" } else { &doing.command },
            word(&details.user),
            redirect,
            details.protocol.number(),
            word(&details.library_name),
            word(&details.library_version),
            where_known(self.fields.io_thread, " io-thread=0"),
            where_known(self.fields.totals, " tot-net-in=0 tot-net-out=0 tot-cmds=0"),
        );
    }

    /// In the order of Redis, `N` where there is nothing to say.
    fn flags(&self, client: &Client, doing: &Activity) -> String {
        let is_gone = |redirect: Redirect| self.registry.client(redirect.client).is_none();
        let flags = [
            ('O', doing.is_monitor),
            ('P', doing.channels + doing.patterns + doing.shard_channels > 0),
            ('x', doing.queued.is_some()),
            ('b', doing.is_blocked),
            ('t', doing.tracking.on),
            ('R', doing.tracking.redirect.is_some_and(is_gone)),
            ('B', doing.tracking.broadcast),
            ('U', client.peer.starts_with('/')),
            ('e', doing.modes.no_evict),
            ('T', doing.modes.no_touch),
        ];
        let local: String = flags.iter().filter(|(_, holds)| *holds).map(|(flag, _)| flag).collect();
        if local.is_empty() { "N".to_owned() } else { local }
    }

    /// Text is a bulk string in RESP2 and a verbatim string in RESP3.
    fn text_reply(&self, text: &str, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::Resp2 => encode::bulk(out, text.as_bytes()),
            Protocol::Resp3 => {
                out.extend_from_slice(format!("={}\r\ntxt:", text.len() + 4).as_bytes());
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// <https://redis.io/docs/latest/commands/client-setname/>
fn set_name(client: &Client, name: &[u8], out: &mut Vec<u8>) {
    if !is_name(name) {
        return encode::error(out, "ERR Client names cannot contain spaces, newlines or special characters.");
    }
    client.update(|details| details.name = name.into());
    encode::simple(out, "OK");
}

/// <https://redis.io/docs/latest/commands/client-setinfo/>
fn set_info(client: &Client, args: Args<'_>, out: &mut Vec<u8>) {
    let (attribute, value) = (args.get(2).unwrap_or_default(), args.get(3).unwrap_or_default());
    let attribute = String::from_utf8_lossy(attribute).to_lowercase();
    if !matches!(&*attribute, "lib-name" | "lib-ver") {
        return encode::error(
            out,
            &format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(args.get(2).unwrap_or_default())),
        );
    }
    if !is_name(value) {
        return encode::error(out, &format!("ERR {attribute} cannot contain spaces, newlines or special characters."));
    }
    client.update(|details| match &*attribute {
        "lib-name" => details.library_name = value.into(),
        _ => details.library_version = value.into(),
    });
    encode::simple(out, "OK");
}

fn is_client_type(word: &[u8]) -> bool {
    [&b"pubsub"[..], b"replica", b"slave", b"master"].iter().any(|kind| word.eq_ignore_ascii_case(kind))
}

/// The number, if it is one that a client can have.
pub(super) fn id_of(word: &[u8]) -> Option<u64> {
    u64::try_from(integer(word)?).ok().filter(|id| *id > 0)
}

/// An answer of the proxy's own.
#[derive(Default)]
pub struct LocalReply {
    pub reply: Vec<u8>,
    /// Whom CLIENT KILL ends.
    pub killed: Vec<Arc<Client>>,
}

#[derive(Default)]
struct Filter {
    id: Option<u64>,
    peer: Option<Box<[u8]>>,
    local: Option<Box<[u8]>>,
    user: Option<Box<[u8]>>,
    kind: Option<Box<[u8]>>,
    /// In seconds, at least.
    age: Option<u64>,
    spares_me: bool,
}

impl Filter {
    fn read(args: Args<'_>) -> Result<Filter, String> {
        let mut filter = Filter { spares_me: true, ..Filter::default() };
        let mut at = 2;
        while let (Some(word), Some(value)) = (args.get(at), args.get(at + 1)) {
            match &*String::from_utf8_lossy(word).to_lowercase() {
                "id" => filter.id = Some(id_of(value).ok_or("ERR client-id should be greater than 0")?),
                "addr" => filter.peer = Some(value.into()),
                "laddr" => filter.local = Some(value.into()),
                "maxage" => filter.age = Some(id_of(value).unwrap_or_default()),
                "user" => filter.user = Some(value.into()),
                "type" if value.eq_ignore_ascii_case(b"normal") || is_client_type(value) => filter.kind = Some(value.into()),
                "type" => return Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(value))),
                "skipme" if value.eq_ignore_ascii_case(b"yes") => filter.spares_me = true,
                "skipme" if value.eq_ignore_ascii_case(b"no") => filter.spares_me = false,
                _ => return Err("ERR syntax error".to_owned()),
            }
            at += 2;
        }
        if at == args.len() { Ok(filter) } else { Err("ERR syntax error".to_owned()) }
    }

    fn takes(&self, other: &Client, kind: &[u8], me: u64) -> bool {
        self.id.is_none_or(|id| id == other.id)
            && self.peer.as_deref().is_none_or(|peer| peer == other.peer.as_bytes())
            && self.local.as_deref().is_none_or(|local| local == other.local.as_bytes())
            && self.user.as_deref().is_none_or(|user| *user == *other.details().user)
            && self.kind.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind))
            && self.age.is_none_or(|age| other.connected_at.elapsed().as_secs() >= age)
            && !(self.spares_me && other.id == me)
    }
}
