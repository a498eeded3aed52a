//! Requests that cannot be sent: they get an error at their deadline, or at once if their node has been given up, or has run what
//! was sent behind them.
//!
//! A node that refuses a request, for its slot is elsewhere or the cluster is down, refuses what stands behind it on the same
//! slot, too, unless that changes between the two. Sent once more, the first would then run behind the second.

use std::time::{Duration, Instant};

use super::core::Core;
use super::entry::{Entry, Kind, Order, Phase, VisibleFrames};
use super::gather::{Part, PartConnection, Progress, Target};
use super::settings::NodeName;
use super::state::State;
use respguard_engine::command::{CommandId, ConnectionEffect};
use respguard_engine::pipeline::finding::Fault;
use respguard_resp::encode;

/// Why a request does not go that would overtake what was sent before it.
const UNANSWERED: &str = "what was sent before it has not been answered in time";
/// Why one does not go once more.
const OVERTAKEN: &str = "its node refused it, and may have run what was sent behind it";
/// What waits for a node is told so before its link gives up on it.
const TOLD_BEFORE: Duration = Duration::from_millis(100);

impl Core {
    pub(super) fn give_up(&self, state: &mut State, place: usize, now: Instant) {
        let silent = self.given_up_node(&state.queue[place]);
        let (waits_for_late, order) = (self.waits_for_late(state, place), state.order_behind(place));
        let entry = &mut state.queue[place];
        let longest = self.nodes.settings.request_timeout;
        let longest = longest.saturating_sub(TOLD_BEFORE.min(longest / 4));
        let is_over = now.saturating_duration_since(entry.since) >= longest || order == Order::Lost;
        match &mut entry.kind {
            Kind::Gather(gather) => {
                let may_be_missing = gather.may_miss_nodes();
                let does_not_answer = |node| self.nodes.is_given_up(&node) || may_be_missing && self.nodes.is_silent(&node);
                let is_lost = |part: &Part| is_over || self.part_node(part).is_some_and(does_not_answer);
                let waiting = gather.parts.iter_mut().filter(|part| part.progress == Progress::Waiting && is_lost(part));
                waiting.for_each(|part| part.progress = Progress::Failed(Fault::Unavailable));
                self.conclude_parts(state, place);
            }
            _ if !is_over && silent.is_none() => {}
            Kind::Atomic(atomic) if atomic.shows == VisibleFrames::All => {
                state.end(place, Phase::Failed(Fault::Unavailable), false)
            }
            Kind::Inquiry(_) => state.end(place, Phase::Failed(Fault::Unavailable), false),
            Kind::Single | Kind::Login(_) if self.is_listened_to(entry.command) => {
                state.end(place, Phase::Failed(Fault::Unavailable), false)
            }
            _ => {
                let name = self.nodes.context.table().spec(entry.command).shown();
                let name = if entry.command == CommandId::UNKNOWN { "the request".to_owned() } else { name };
                let is_alone = matches!(entry.kind, Kind::Blocking(_) | Kind::Watch | Kind::Subscribe(_));
                let why = match (entry.slot, self.no_lease.take(), silent) {
                    _ if waits_for_late => UNANSWERED.to_owned(),
                    _ if order != Order::Kept => OVERTAKEN.to_owned(),
                    (_, _, Some(node)) => format!("node {node} does not answer"),
                    (_, Some(why), None) if is_alone => why.to_string(),
                    (Some(slot), _, None) if self.nodes.half_moved.has(Some(slot)) => {
                        format!("slot {slot} is half moved, and no node has all of its keys")
                    }
                    (Some(slot), _, None) => format!("no node serves slot {slot}"),
                    (None, _, None) => "no node of the cluster is there".to_owned(),
                };
                self.revert_subscribe(state, place);
                let entry = &mut state.queue[place];
                entry.abort_own();
                let is_end = matches!(&entry.kind, Kind::Atomic(atomic) if atomic.shows == VisibleFrames::Last);
                entry.reply.clear();
                encode::error(&mut entry.reply, &format!("ERR respguard: {name} was not sent: {why}"));
                if is_end {
                    state.end_watch();
                }
                state.end(place, Phase::Done, false);
            }
        }
    }

    /// What a node answers to this command says what its client is from then on. That none was asked must not be taken for
    /// such an answer.
    pub(super) fn is_listened_to(&self, command: CommandId) -> bool {
        let effect = self.nodes.context.table().spec(command).connection;
        matches!(effect, ConnectionEffect::Lane(_) | ConnectionEffect::ClientCommand(_))
    }

    /// The node that the request would go to, if that has been given up.
    fn given_up_node(&self, entry: &Entry) -> Option<NodeName> {
        let old = match &entry.kind {
            Kind::Inquiry(inquiry) => inquiry.old_node().cloned(),
            _ => None,
        };
        let pointed = entry.again.as_ref().and_then(|again| again.asks.clone().or_else(|| again.node.clone()));
        let pointed = old.or(pointed);
        let node = pointed.or_else(|| self.nodes.owner(entry.slot?));
        node.filter(|node| self.nodes.is_given_up(node))
    }

    fn part_node(&self, part: &Part) -> Option<NodeName> {
        match (&part.asks, &part.target) {
            _ if part.connection == PartConnection::PastTrouble => None,
            (Some(node), _) | (None, Target::At(node)) => Some(NodeName::clone(node)),
            (None, Target::Slot(slot) | Target::Shard(slot)) => self.nodes.owner(*slot),
            (None, Target::Home | Target::Every | Target::Written) => None,
        }
    }
}

impl State {
    /// What has become of those behind the request at this place that are about its slot, if it is to be sent once more. A read
    /// changes nothing for them, one that goes behind ASKING is about keys that its node has not, and one whose script is loaded
    /// first was refused for that alone.
    pub(super) fn order_behind(&self, place: usize) -> Order {
        let entry = &self.queue[place];
        let goes_again = entry.again.as_ref().is_some_and(|again| again.asks.is_none() && again.loads.is_none());
        let Some(slot) = entry.slot.filter(|_| goes_again && !entry.is_read && matches!(entry.kind, Kind::Single)) else {
            return Order::Kept;
        };
        self.order_on(slot, place)
    }

    /// What has become of those behind this place that are about the slot.
    #[cold]
    pub(super) fn order_on(&self, slot: u16, place: usize) -> Order {
        let State { queue, streams, first, .. } = self;
        for (at, behind) in queue.iter().enumerate().skip(place + 1).filter(|(_, behind)| is_about(behind, slot)) {
            match behind.phase {
                Phase::Waiting => {}
                Phase::Sent => {
                    let stream = behind.stream.and_then(|stream| streams.replies(stream));
                    let number = *first + at as u64;
                    return if stream.is_some_and(|replies| !replies.owes(number)) { Order::Lost } else { Order::Open };
                }
                Phase::Done | Phase::Failed(_) => return Order::Lost,
            }
        }
        Order::Kept
    }
}

/// What the proxy itself answers is about no slot.
fn is_about(entry: &Entry, slot: u16) -> bool {
    entry.slot == Some(slot) && !matches!(entry.kind, Kind::ProxyReply)
}
