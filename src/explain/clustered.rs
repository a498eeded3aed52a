//! Where commands go before a cluster, and which are refused there.

use super::page::Page;
use super::planned::{Clustered, Planned};
use respguard_engine::route::merge::Merge;
use respguard_engine::route::place::{ClusterCommand, Route, Slots, Split, slots};

const CROSSSLOT: &str = "refused with CROSSSLOT: keys of several slots";

impl Planned<'_> {
    /// Where a command goes, behind the command itself; nothing before one server.
    pub(super) fn place(&self, at: usize, page: &Page) -> String {
        let place = self.clustered.as_ref().and_then(|cluster| self.place_on(cluster, at, page));
        place.map_or_else(String::new, |place| format!("   ({place})"))
    }

    fn place_on(&self, cluster: &Clustered<'_>, at: usize, page: &Page) -> Option<String> {
        let args = self.args(at);
        let says = |text: &str| Some(text.to_owned());
        match (cluster.routes.get(self.batch.id(at).index()), slots(self.spec(at), args)) {
            (Route::Refused(why), _) => Some(format!("refused: it {why}")),
            (Route::Every(Merge::OneSucceeds), _) => says("every primary, one is enough"),
            (Route::Every(_), _) => says("every primary, and their replies merged"),
            (Route::Scan, _) => says("one primary after the other"),
            (Route::Wait, _) => says("every primary that the client has written to"),
            (Route::Cluster(ClusterCommand::InSlot), _) => says("the primary of the slot that it names"),
            (Route::Cluster(_) | Route::Accepted, _) => says("answered by the proxy, as the only node"),
            (Route::Split(Split::Elements | Split::Count), Slots::Several) => {
                says("keys of several slots: split, replies merged, not atomic")
            }
            (Route::Split(Split::Pairs | Split::CountedPairs), Slots::Several) if cluster.splits_writes => {
                says("keys of several slots: split, not atomic; with NX or XX refused with CROSSSLOT")
            }
            (Route::Split(_) | Route::Keys | Route::Transaction(_), Slots::Several) => says(CROSSSLOT),
            (_, Slots::One { slot, .. }) => Some(page.slot(slot)),
            (Route::Keys, Slots::None) => says("one primary"),
            _ => None,
        }
    }

    /// The command behind the steps, if it is refused before a cluster; true where it is.
    pub(super) fn write_refused_there(&self, page: &mut Page) -> bool {
        let at = self.plan.commands;
        let cluster = self.clustered.as_ref().filter(|_| at < self.batch.len());
        let Some(Route::Refused(_)) = cluster.map(|cluster| cluster.routes.get(self.batch.id(at).index())) else {
            return false;
        };
        page.line(1, "not sent:");
        self.write_answered(at, "the proxy's own reply: an error", page);
        true
    }
}
