//! Answers in the cluster's place: clients that ask for its nodes see the proxy as the only one.

use super::core::Core;
use super::entry::{Entry, Kind};
use super::gather;
use super::intake::Request;
use super::settings::Announced;
use respguard_engine::route::place::ClusterCommand;
use respguard_engine::route::slots::{SLOTS, key_slot};
use respguard_resp::{Protocol, encode};

pub(super) fn answer(core: &Core, request: &Request<'_>, command: ClusterCommand, written: &[u8], entry: &mut Entry) {
    let protocol = core.key.borrow().protocol;
    let Announced { host, port, id } = core.nodes.announced();
    let out = &mut entry.reply;
    if !request.spec.arity_fits(request.args) {
        let name = request.spec.name();
        encode::error(out, &format!("ERR wrong number of arguments for '{name}' command"));
        entry.kind = Kind::ProxyReply;
        return;
    }
    let argument = request.args.get(2).unwrap_or_default();
    match command {
        ClusterCommand::Slots => {
            encode::array_header(out, 1);
            encode::array_header(out, 3);
            encode::integer(out, 0);
            encode::integer(out, SLOTS as i64 - 1);
            encode::array_header(out, 4);
            encode::bulk(out, host.as_bytes());
            encode::integer(out, i64::from(*port));
            encode::bulk(out, id.as_bytes());
            encode::array_header(out, 0);
        }
        ClusterCommand::Shards => shards(core.nodes.announced(), protocol, out),
        ClusterCommand::Nodes => {
            let line = format!("{id} {host}:{port}@{port} myself,master - 0 0 1 connected 0-{}\n", SLOTS - 1);
            verbatim(&line, protocol, out);
        }
        ClusterCommand::Info => verbatim(&info(core), protocol, out),
        ClusterCommand::MyId => encode::bulk(out, id.as_bytes()),
        ClusterCommand::KeySlot => encode::integer(out, i64::from(key_slot(argument))),
        ClusterCommand::InSlot => {
            let slot = std::str::from_utf8(argument).ok().and_then(|text| text.parse().ok());
            match slot.filter(|slot: &u16| usize::from(*slot) < SLOTS) {
                Some(slot) => return gather::of_slot(written, slot, entry),
                None => encode::error(out, "ERR Invalid slot"),
            }
        }
    }
    entry.kind = Kind::ProxyReply;
}

fn info(core: &Core) -> String {
    let map = core.nodes.map.borrow();
    let served = map.served();
    let state = if served == SLOTS { "ok" } else { "fail" };
    let epoch = map.epoch;
    format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{served}\r\ncluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:{epoch}\r\n\
         cluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n"
    )
}

fn shards(announced: &Announced, protocol: Protocol, out: &mut Vec<u8>) {
    let Announced { host, port, id } = announced;
    encode::array_header(out, 1);
    encode::map_header(out, 2, protocol);
    encode::bulk(out, b"slots");
    encode::array_header(out, 2);
    encode::integer(out, 0);
    encode::integer(out, SLOTS as i64 - 1);
    encode::bulk(out, b"nodes");
    encode::array_header(out, 1);
    encode::map_header(out, 7, protocol);
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    };
    text(out, "id", id);
    encode::bulk(out, b"port");
    encode::integer(out, i64::from(*port));
    text(out, "ip", host);
    text(out, "endpoint", host);
    text(out, "role", "master");
    encode::bulk(out, b"replication-offset");
    encode::integer(out, 0);
    text(out, "health", "online");
}

fn verbatim(text: &str, protocol: Protocol, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Resp3 => out.extend_from_slice(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes()),
        Protocol::Resp2 => encode::bulk(out, text.as_bytes()),
    }
}
