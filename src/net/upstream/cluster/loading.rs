//! Loads what a request runs onto a node that does not know it.

use super::core::Core;
use super::entry::{Entry, Order};
use super::intake::Request;
use super::scripts::ScriptNeeds;
use super::settings::NodeName;
use super::state::State;
use respguard_resp::encode;
use respguard_resp::scan::elements;

impl Core {
    /// Within EXEC's answer it is too late for this transaction, whose other commands have run; the next one finds it loaded.
    pub(super) fn note_missing(&self, node: Option<&NodeName>, exec: &[u8]) {
        if let Some(node) = node
            && elements(exec).any(is_missing)
        {
            self.nodes.forget_loaded(node);
        }
    }

    /// Where its node may not know yet what the request runs, that is to be loaded first: what stands behind it would overtake it
    /// if it went out once more.
    pub(super) fn note_needs(&self, entry: &mut Entry, request: &Request<'_>) {
        let mut needs = ScriptNeeds::default();
        needs.note(request.spec, request.args);
        if needs.any()
            && let Some((address, lane)) = self.lane_for(entry)
            && self.nodes.may_lack(&address, lane.shared().opened_at(), &needs)
        {
            entry.again().needs = Some(needs);
        }
    }

    /// A node does not know the script or function of a request that it was sent, and the proxy does: it is loaded there, and the
    /// request goes out once more. False where that is not so, or was done, or the node may have run what stands behind it.
    pub(super) fn loads_for(&self, state: &mut State, place: usize, error: &[u8]) -> bool {
        if !is_missing(error) || state.queue[place].again.as_ref().is_some_and(|again| again.is_loaded) {
            return false;
        }
        let entry = &state.queue[place];
        if !entry.is_read && entry.slot.is_some_and(|slot| state.order_on(slot, place) != Order::Kept) {
            return false;
        }
        let mut needs = ScriptNeeds::default();
        if let Some(request) = state.request(place) {
            needs.note(self.nodes.context.table().spec(entry.command), request.args());
        }
        let mut requests = Vec::new();
        let bodies = needs.scripts.iter().filter_map(|digest| self.nodes.scripts().body(digest));
        let mut count = 0;
        for body in bodies {
            encode::request(&mut requests, &[b"SCRIPT", b"LOAD", &body]);
            count += 1;
        }
        if needs.functions {
            count += self.nodes.scripts().write_libraries(&mut requests);
        }
        if count == 0 {
            return false;
        }
        let again = state.queue[place].again();
        (again.is_loaded, again.loads) = (true, Some((requests, count)));
        true
    }
}

/// A node has not got what it was to run.
fn is_missing(error: &[u8]) -> bool {
    // A script that has run may begin its own error in the same way.
    error.starts_with(b"-NOSCRIPT No matching script.") || error == b"-ERR Function not found\r\n"
}
