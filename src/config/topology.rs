//! Reads where the server is: its address, the sentinels that name it, or the nodes of a cluster.

use crate::net::address::{Address, AddressError};

use super::credential::Sources;
use super::section::{Findings, Section, Value};
use super::{Cluster, Sentinel, Topology, values};

/// So many sentinels are listened to.
const SENTINELS_MAX: usize = 32;
/// So many nodes are asked for the others.
const SEEDS_MAX: usize = 64;

/// What the section says; `None` where it says nothing, or nothing that could be meant.
pub(super) fn read(section: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Option<Topology> {
    let address = values::address(section, findings);
    let is_written = section.has("address");
    let cluster = cluster(section, findings);
    let sentinels = section.list("sentinels", findings);
    let service = section.text("service", findings);
    let credentials = sources.sentinel(section, findings);
    let Some(sentinels) = sentinels else {
        for (key, is_there) in [("service", service.is_some()), ("sentinel_username", credentials.is_some())] {
            if is_there {
                findings.add(&section.path_of(key), "there are no sentinels that it could be about", "`sentinels` beside it");
            }
        }
        if cluster.is_some() && is_written {
            findings.add(&section.path_of("cluster"), "there are both an address and a cluster", "one of the two");
        }
        return cluster.map(Topology::Cluster).or_else(|| fixed(address, section, findings));
    };
    if cluster.is_some() {
        findings.add(&section.path_of("cluster"), "there are both sentinels and a cluster", "one of the two");
    }
    let path = section.path_of("sentinels");
    if is_written {
        findings.add(&path, "there are both an address and sentinels", "one of the two");
    }
    let is_empty = sentinels.is_empty() && !findings.covers(&path);
    if is_empty || sentinels.len() > SENTINELS_MAX {
        findings.add(&path, format!("there are {} sentinels", sentinels.len()), format!("from 1 to {SENTINELS_MAX}"));
    }
    let addresses: Vec<_> = sentinels.iter().filter_map(|value| host_and_port(value, "a sentinel", findings)).collect();
    let is_name = |service: &String| !service.is_empty() && !service.bytes().any(|byte| byte.is_ascii_whitespace());
    let path = section.path_of("service");
    match &service {
        Some(service) if is_name(service) => {}
        Some(service) => findings.add(&path, format!("{service:?} is no name of a service"), "a name without spaces"),
        None if findings.covers(&path) => {}
        None => findings.add(&path, "the key is missing", "the name under which the sentinels watch the primary"),
    }
    Some(Topology::Sentinel(Sentinel { addresses, service: service?, credentials }))
}

/// The cluster, if one is named.
fn cluster(section: &mut Section<'_>, findings: &mut Findings) -> Option<Cluster> {
    let seeds = section.list("cluster", findings);
    let announce = section.text("announce", findings);
    let split_writes = section.truth("split_writes", false, findings);
    let databases = section.truth("databases", false, findings);
    let Some(seeds) = seeds else {
        for (key, is_there) in [("announce", announce.is_some()), ("split_writes", split_writes), ("databases", databases)] {
            if is_there {
                findings.add(&section.path_of(key), "there is no cluster that it could be about", "`cluster` beside it");
            }
        }
        return None;
    };
    let path = section.path_of("cluster");
    if seeds.is_empty() && !findings.covers(&path) || seeds.len() > SEEDS_MAX {
        findings.add(&path, format!("there are {} nodes", seeds.len()), format!("from 1 to {SEEDS_MAX}"));
    }
    let announce = announce.and_then(|text| match text.parse() {
        Ok(Address::Tcp { host, port: port @ 1.. }) => Some((host, port)),
        _ => {
            findings.add(
                &section.path_of("announce"),
                format!("{text:?} is no address"),
                "host:port that clients can connect to",
            );
            None
        }
    });
    let seeds: Vec<_> = seeds.iter().filter_map(|value| host_and_port(value, "a node", findings)).collect();
    Some(Cluster { seeds, announce, split_writes, databases })
}

fn fixed(address: Option<Address>, section: &Section<'_>, findings: &mut Findings) -> Option<Topology> {
    if matches!(address, Some(Address::Tcp { port: 0, .. })) {
        findings.add(&section.path_of("address"), "port 0 is no server's port", "a port from 1 to 65535");
    }
    address.map(Topology::Fixed)
}

fn host_and_port(value: &Value<'_>, whose: &str, findings: &mut Findings) -> Option<Address> {
    let text = value.text(findings)?;
    match text.parse() {
        Ok(address @ Address::Tcp { port: 1.., .. }) => return Some(address),
        Ok(_) => findings.add(&value.path, format!("{text:?} is no address of {whose}"), "host:port"),
        Err(error) => {
            let error: AddressError = error;
            findings.add(&value.path, error.to_string(), "host:port such as \"127.0.0.1:26379\"");
        }
    }
    None
}
