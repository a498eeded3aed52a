//! Which slots one node serves now, and which of them are migrating.

use std::collections::BTreeMap;

use respguard_resp::value;

use super::slots::SlotSet;

/// <https://redis.io/docs/latest/commands/cluster-nodes/>
pub const QUESTION: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSlots {
    /// Those that it serves, also those that are leaving it.
    pub served: SlotSet,
    /// Those whose keys are leaving it now, by where they go: host, empty where it is not known, and port.
    pub leaving: BTreeMap<(String, u16), SlotSet>,
}

impl NodeSlots {
    /// Reads the answer to [`QUESTION`]; `None` if it is another one.
    pub fn read(frame: &[u8]) -> Option<NodeSlots> {
        let text = std::str::from_utf8(value::bulk(frame)?).ok()?;
        let nodes = || text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let own = nodes().find(|node| node.get(2).is_some_and(|flags| flags.split(',').any(|flag| flag == "myself")))?;
        let mut slots = NodeSlots::default();
        for written in own.get(8..).unwrap_or_default() {
            if let Some(leaving) = written.strip_prefix('[') {
                let Some((slot, id)) = leaving.trim_end_matches(']').split_once("->-") else { continue };
                let to = nodes().find(|node| node.first() == Some(&id)).and_then(|node| address(node.get(1)?))?;
                slots.leaving.entry(to).or_default().insert(slot.parse().ok()?);
            } else {
                let (first, last) = written.split_once('-').unwrap_or((written, written));
                (first.parse::<u16>().ok()?..=last.parse().ok()?).for_each(|slot| slots.served.insert(slot));
            }
        }
        Some(slots)
    }

    /// All that are leaving.
    pub fn all_leaving(&self) -> SlotSet {
        self.leaving.values().fold(SlotSet::default(), |all, slots| all.with(slots))
    }
}

/// Reads `host:port@bus,name`.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.split('@').next()?.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use respguard_resp::encode;

    fn read(text: &str) -> Option<NodeSlots> {
        let mut frame = Vec::new();
        encode::bulk(&mut frame, text.as_bytes());
        NodeSlots::read(&frame)
    }

    fn set(slots: &[u16]) -> SlotSet {
        let mut set = SlotSet::default();
        slots.iter().for_each(|slot| set.insert(*slot));
        set
    }

    #[test]
    fn a_node_says_what_it_serves_and_what_is_leaving_it() {
        let slots = read(
            "aa 10.0.0.1:7000@17000 master - 0 1 3 connected 9-16383\n\
             bb 10.0.0.2:7000@17000,name.example myself,master - 0 0 2 connected 0-2 7 [7->-aa] [2->-aa] [8-<-aa]\n\
             cc ::1:7001@17001 slave bb 0 1 2 connected\n",
        )
        .expect("it can be read");
        assert_eq!(slots.served, set(&[0, 1, 2, 7]));
        assert_eq!(slots.leaving, BTreeMap::from([(("10.0.0.1".to_owned(), 7000), set(&[2, 7]))]));
        assert_eq!(slots.all_leaving(), set(&[2, 7]));
    }

    #[test]
    fn a_replica_serves_nothing() {
        let slots = read("aa 10.0.0.1:7000@17000 myself,slave bb 0 1 3 connected\nbb :7001@17001 master - 0 0 2 connected 1\n");
        assert_eq!(slots, Some(NodeSlots::default()));
    }

    #[test]
    fn what_is_no_such_answer_says_nothing() {
        assert_eq!(NodeSlots::read(b"-NOPERM no\r\n"), None);
        for text in ["", "aa 10.0.0.1:7000@17000 master - 0 1 3 connected 0\n", "aa h:1@2 myself,master - 0 1 3 connected x\n"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("aa h:1@2 myself,master - 0 1 3 connected 1 [1->-bb]\n"), None, "nobody knows where it goes");
    }
}
