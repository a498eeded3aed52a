//! The connection that a client holds alone.

use std::rc::Rc;
use std::time::Duration;

use crate::net::upstream::connection::{Blocked, Link, Phase};
use crate::net::upstream::lane::Lane;
use respguard_resp::encode;

/// After so long it is looked again whether what blocks has been sent to a node of a cluster.
const UNSENT_PAUSE: Duration = Duration::from_millis(5);

/// The connection that a client holds alone.
///
/// It is given back to the lane that it was taken from, whatever lane its client is on by then.
#[derive(Default)]
pub(super) struct Lease(Option<(Rc<Lane>, Rc<Link>)>);

impl Lease {
    /// This connection of that lane.
    pub(super) fn of(lane: Rc<Lane>, link: Rc<Link>) -> Lease {
        Lease(Some((lane, link)))
    }

    /// True while the client has one.
    pub(super) fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// The connection, if the client has one.
    pub(super) fn link(&self) -> Option<&Rc<Link>> {
        self.0.as_ref().map(|(_, link)| link)
    }

    /// True when the command under way on it blocks.
    pub(super) fn is_blocked(&self) -> bool {
        self.link().is_some_and(|link| link.is_blocked())
    }

    /// True when nothing keeps more of a request from being sent on it, or the client has none.
    pub(super) fn has_room(&self) -> bool {
        self.link().is_none_or(|link| link.has_room(usize::MAX))
    }

    /// Where that command waits: on the connection itself, or before a cluster at nodes, on which it may not have come yet.
    fn blocked_at(&self) -> Vec<(Rc<Lane>, Rc<Link>)> {
        let Some((lane, link)) = self.0.as_ref().filter(|(_, link)| link.is_blocked()) else { return Vec::new() };
        match link.blocked_at() {
            None => vec![(Rc::clone(lane), Rc::clone(link))],
            Some(nodes) => nodes.into_iter().map(|at| (at.lane, at.link)).filter(|(_, link)| link.is_blocked()).collect(),
        }
    }

    /// True when the server waits with its answer to that, as far as it can say. It is asked over another connection of the
    /// lane, once the client's own is there; `answered` is called when this is to be looked at again.
    pub(super) fn waits_at_server(&self, answered: impl FnOnce() + 'static) -> bool {
        let Some(asked) = self.link().filter(|link| link.is_blocked()).cloned() else { return false };
        if asked.blocked().known() == Blocked::NotKnown {
            match self.blocked_at().into_iter().next() {
                Some((lane, link)) if link.phase() != Phase::Connecting => {
                    if let Some(question) = asked.blocked().ask(link.info().client_id) {
                        let asked = Rc::clone(&asked);
                        lane.call(&question, move |answer| {
                            asked.blocked().answered(answer.reply());
                            answered();
                        });
                    }
                }
                at => {
                    asked.blocked().pause();
                    let asked = Rc::clone(&asked);
                    tokio::task::spawn_local(async move {
                        match at {
                            // Where it cannot be opened, its client is told.
                            Some((_, link)) => drop(link.opened().await),
                            None => tokio::time::sleep(UNSENT_PAUSE).await,
                        }
                        asked.blocked().resume();
                        answered();
                    });
                }
            }
        }
        asked.blocked().known() == Blocked::Waits
    }

    /// The server is asked to end the wait of the command that blocks on it, if one does.
    pub(super) fn end_blocking(&self) {
        for (lane, link) in self.blocked_at() {
            let Some(id) = link.info().client_id else { continue };
            let request = encode::request_frame(&[b"CLIENT", b"UNBLOCK", id.to_string().as_bytes()]);
            // Without a connection to say it on, the drain timeout ends the wait.
            lane.call(&request, |_| {});
        }
    }

    /// What its client has sent on it may lie unread at the server: that is told to end it before anything else of the
    /// client's is sent.
    pub(super) fn orphan(&self) {
        if let Some((lane, link)) = &self.0
            && let Some(orphan) = link.orphan()
        {
            lane.shared().kill_orphan(orphan);
        }
    }

    /// Gives it back; `clean` says that the connection is as its handshake left it. False where there was none.
    pub(super) fn give_back(&mut self, clean: bool) -> bool {
        let Some((lane, link)) = self.0.take() else { return false };
        lane.give_back(&link, clean);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::upstream::lane::NoLease;
    use crate::net::upstream::pool::Pool;
    use crate::net::upstream::tests::{context, server, settings};
    use crate::telemetry::exposition::Exposition;

    /// The first lane of a pool with a single lease.
    async fn with_lane(test: impl AsyncFnOnce(&Rc<Lane>)) {
        let context = context(&Exposition::build().1);
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let pool = Pool::new(&context, settings(server(usize::MAX).0));
                test(pool.first()).await;
                pool.close();
            })
            .await;
    }

    fn taken(lane: &Rc<Lane>) -> Lease {
        Lease::of(Rc::clone(lane), lane.lease().expect("there is one"))
    }

    #[test]
    fn without_a_lease_nothing_blocks_and_nothing_is_given_back() {
        let mut lease = Lease::default();
        assert!(!lease.is_held() && lease.link().is_none() && !lease.is_blocked() && lease.has_room());
        assert!(!lease.give_back(true));
    }

    #[tokio::test]
    async fn what_is_given_back_once_can_be_had_once_again() {
        with_lane(async |lane| {
            let mut lease = taken(lane);
            assert!(lease.is_held() && matches!(lane.lease(), Err(NoLease::Taken(1))));
            assert!(lease.give_back(false) && !lease.is_held() && !lease.give_back(false));
            let _again = taken(lane);
            assert!(matches!(lane.lease(), Err(NoLease::Taken(1))));
        })
        .await;
    }

    #[tokio::test]
    async fn a_clean_connection_serves_the_next_client_and_another_one_is_closed() {
        with_lane(async |lane| {
            let mut lease = taken(lane);
            let link = Rc::clone(lease.link().expect("it is held"));
            link.opened().await.expect("the server is there");
            lease.give_back(true);
            let mut next = taken(lane);
            assert!(next.link().is_some_and(|same| Rc::ptr_eq(same, &link)));
            next.give_back(false);
            assert_eq!(link.phase(), Phase::Closed);
            assert!(taken(lane).link().is_some_and(|other| !Rc::ptr_eq(other, &link)));
        })
        .await;
    }
}
