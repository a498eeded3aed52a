//! Which node serves which slots, as reported by one node of a cluster.

use respguard_resp::scan::elements;
use respguard_resp::value;

use super::slots::SLOTS;

/// CLUSTER SLOTS and CLUSTER INFO in one write.
pub const QUESTION: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n";

/// A primary, and the slots that it serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Empty where the node does not say, and means the address at which it was asked.
    pub host: String,
    /// The port for clients.
    pub port: u16,
    /// The node's id in the cluster.
    pub id: String,
    /// First and last of each range.
    pub ranges: Vec<(u16, u16)>,
}

/// What one node says of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The cluster's epoch as the node knows it: it rises with every change.
    pub epoch: u64,
    /// The node takes its cluster to be able to serve.
    pub is_ok: bool,
    /// It suspects that nodes which serve slots have failed, or knows it: others may be about to take their place.
    pub suspects: bool,
    /// By address.
    pub shards: Vec<Shard>,
    /// Hosts and ports of those that may take a primary's place.
    pub replicas: Vec<(String, u16)>,
}

/// Why a node says nothing about slots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAssignment {
    /// Its error.
    #[error("it refuses to tell: {0}")]
    Refused(Box<str>),
    /// Its error: cluster support is off.
    #[error("it is no node of a cluster: {0}")]
    NoCluster(Box<str>),
    /// Neither slots nor an error.
    #[error("its answer cannot be read")]
    Unreadable,
}

impl Assignment {
    /// Reads the answers to [`QUESTION`] (<https://redis.io/docs/latest/commands/cluster-slots/>).
    ///
    /// # Errors
    /// They are errors, or something else.
    pub fn read(slots: &[u8], info: &[u8]) -> Result<Assignment, NoAssignment> {
        if let Some(frame) = [slots, info].into_iter().find(|frame| value::is_error(frame)) {
            let text: Box<str> = String::from_utf8_lossy(value::error_text(frame)).into();
            let is_about_rights = ["NOAUTH", "NOPERM", "WRONGPASS"].iter().any(|token| text.starts_with(token));
            return Err(if is_about_rights { NoAssignment::Refused(text) } else { NoAssignment::NoCluster(text) });
        }
        let info = value::bulk(info).ok_or(NoAssignment::Unreadable)?;
        let field = |name: &[u8]| {
            let mut lines = info.split(|byte| *byte == b'\n');
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b":")).map(<[u8]>::trim_ascii)
        };
        let epoch = field(b"cluster_current_epoch").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let (mut shards, mut replicas): (Vec<Shard>, Vec<(String, u16)>) = Default::default();
        for range in elements(slots) {
            let (first, last, shard) = read_range(range, &mut replicas).ok_or(NoAssignment::Unreadable)?;
            match shards.iter_mut().find(|known| (&known.host, known.port) == (&shard.host, shard.port)) {
                Some(known) => known.ranges.push((first, last)),
                None => shards.push(Shard { ranges: vec![(first, last)], ..shard }),
            }
        }
        shards.iter_mut().for_each(|shard| shard.ranges.sort_unstable());
        shards.sort_unstable();
        replicas.sort_unstable();
        replicas.dedup();
        let is_some = |name| field(name).is_some_and(|number| number != b"0");
        let suspects = is_some(b"cluster_slots_pfail") || is_some(b"cluster_slots_fail");
        let is_ok = field(b"cluster_state") == Some(b"ok");
        Ok(Assignment { epoch: epoch.unwrap_or(0), is_ok, suspects, shards, replicas })
    }

    /// The one of several that counts: of the newest epoch; of these what most say; of these the first.
    pub fn choose(all: Vec<Assignment>) -> Option<Assignment> {
        let newest = all.iter().map(|assignment| assignment.epoch).max()?;
        let of_newest: Vec<_> = all.into_iter().filter(|assignment| assignment.epoch == newest).collect();
        let says = |shards: &[Shard]| of_newest.iter().filter(|other| other.shards == shards).count();
        let most = of_newest.iter().map(|assignment| says(&assignment.shards)).max()?;
        of_newest.iter().find(|assignment| says(&assignment.shards) == most).cloned()
    }
}

fn read_range(range: &[u8], replicas: &mut Vec<(String, u16)>) -> Option<(u16, u16, Shard)> {
    let mut parts = elements(range);
    let mut slot = || u16::try_from(value::integer(parts.next()?)?).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let (first, last) = (slot()?, slot()?);
    let (host, port, id) = read_node(parts.next()?)?;
    replicas.extend(parts.filter_map(read_node).map(|(host, port, _)| (host, port)));
    (first <= last).then_some((first, last, Shard { host, port, id, ranges: Vec::new() }))
}

fn read_node(node: &[u8]) -> Option<(String, u16, String)> {
    let mut node = elements(node);
    let text = |frame: &[u8]| String::from_utf8_lossy(value::bulk(frame).unwrap_or_default()).into_owned();
    let host = node.next().map(text)?;
    let port = u16::try_from(value::integer(node.next()?)?).ok()?;
    let id = node.next().map(text).unwrap_or_default();
    // A name that is not known is written so.
    Some((if host == "?" { String::new() } else { host }, port, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(epoch: u64) -> Vec<u8> {
        let text = format!("cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n");
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    fn slots(ranges: &[(u16, u16, &str, u16)]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", ranges.len());
        for (first, last, host, port) in ranges {
            let node = format!("*4\r\n${}\r\n{host}\r\n:{port}\r\n$2\r\nid\r\n*0\r\n", host.len());
            out += &format!("*3\r\n:{first}\r\n:{last}\r\n{node}");
        }
        out.into_bytes()
    }

    fn read(epoch: u64, ranges: &[(u16, u16, &str, u16)]) -> Assignment {
        Assignment::read(&slots(ranges), &info(epoch)).expect("readable")
    }

    #[test]
    fn ranges_of_one_node_are_brought_together() {
        let told = read(3, &[(10, 20, "b", 2), (0, 9, "a", 1), (21, 16383, "a", 1)]);
        assert_eq!((told.epoch, told.is_ok), (3, true));
        let ranges: Vec<_> = told.shards.iter().map(|shard| (&*shard.host, shard.ranges.clone())).collect();
        assert_eq!(ranges, [("a", vec![(0, 9), (21, 16383)]), ("b", vec![(10, 20)])]);
    }

    #[test]
    fn a_node_says_whether_it_suspects_others() {
        let suspects = |more: &str| {
            let text = format!("cluster_state:ok\r\ncluster_slots_ok:16384\r\n{more}cluster_current_epoch:1\r\n");
            let info = format!("${}\r\n{text}\r\n", text.len());
            Assignment::read(b"*0\r\n", info.as_bytes()).expect("readable").suspects
        };
        assert!(!suspects("") && !suspects("cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n"));
        assert!(suspects("cluster_slots_pfail:1\r\ncluster_slots_fail:0\r\n") && suspects("cluster_slots_fail:5461\r\n"));
    }

    #[test]
    fn the_newest_epoch_counts_and_then_what_most_say() {
        let (old, new, newer) = (read(1, &[(0, 9, "a", 1)]), read(2, &[(0, 9, "b", 1)]), read(2, &[(0, 9, "c", 1)]));
        let chosen = Assignment::choose(vec![old.clone(), old, new, newer.clone(), newer.clone()]);
        assert_eq!(chosen, Some(newer));
        assert_eq!(Assignment::choose(Vec::new()), None);
    }

    #[test]
    fn a_server_without_a_cluster_and_one_that_must_not_tell_are_told_apart() {
        let disabled = b"-ERR This instance has cluster support disabled\r\n";
        assert!(matches!(Assignment::read(disabled, disabled), Err(NoAssignment::NoCluster(_))));
        let denied = b"-NOAUTH Authentication required.\r\n";
        assert!(matches!(Assignment::read(denied, denied), Err(NoAssignment::Refused(_))));
        assert_eq!(Assignment::read(b"*1\r\n:1\r\n", &info(1)), Err(NoAssignment::Unreadable));
        assert_eq!(read(1, &[(0, 1, "?", 7)]).shards[0].host, "");
    }
}
