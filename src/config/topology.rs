//! Reads where the server is: its address, or the sentinels that name it.

use crate::net::address::{Address, AddressError};

use super::credential::Sources;
use super::section::{Findings, Section, Value};
use super::{Sentinel, Topology, load};

/// So many sentinels are listened to.
const SENTINELS_MAX: usize = 32;

/// What the section says; `None` where it says nothing, or nothing that could be meant.
pub(super) fn read(section: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Option<Topology> {
    let address = load::address(section, findings);
    let is_written = section.has("address");
    let sentinels = section.list("sentinels", findings);
    let service = section.text("service", findings);
    let credentials = sources.sentinel(section, findings);
    let Some(sentinels) = sentinels else {
        for (key, is_there) in [("service", service.is_some()), ("sentinel_username", credentials.is_some())] {
            if is_there {
                findings.add(&section.path_of(key), "there are no sentinels that it could be about", "`sentinels` beside it");
            }
        }
        return fixed(address, section, findings);
    };
    let path = section.path_of("sentinels");
    if is_written {
        findings.add(&path, "there are both an address and sentinels", "one of the two");
    }
    let is_empty = sentinels.is_empty() && !findings.covers(&path);
    if is_empty || sentinels.len() > SENTINELS_MAX {
        findings.add(&path, format!("there are {} sentinels", sentinels.len()), format!("from 1 to {SENTINELS_MAX}"));
    }
    let addresses: Vec<_> = sentinels.iter().filter_map(|value| sentinel(value, findings)).collect();
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

fn fixed(address: Option<Address>, section: &Section<'_>, findings: &mut Findings) -> Option<Topology> {
    if matches!(address, Some(Address::Tcp { port: 0, .. })) {
        findings.add(&section.path_of("address"), "port 0 is no server's port", "a port from 1 to 65535");
    }
    address.map(Topology::Fixed)
}

fn sentinel(value: &Value<'_>, findings: &mut Findings) -> Option<Address> {
    let text = value.text(findings)?;
    match text.parse() {
        Ok(address @ Address::Tcp { port: 1.., .. }) => return Some(address),
        Ok(_) => findings.add(&value.path, format!("{text:?} is no address of a sentinel"), "host:port"),
        Err(error) => {
            let error: AddressError = error;
            findings.add(&value.path, error.to_string(), "host:port such as \"127.0.0.1:26379\"");
        }
    }
    None
}
