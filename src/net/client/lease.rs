//! The connection that a client holds alone.

use std::rc::Rc;

use crate::net::upstream::connection::{Blocked, Link, Phase};
use crate::net::upstream::lane::Lane;
use respguard_resp::encode;

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

    /// True when the server waits with its answer to that, as far as it can say. It is asked over another connection of the
    /// lane, once the client's own is there; `answered` is called when this is to be looked at again.
    pub(super) fn waits_at_server(&self, answered: impl FnOnce() + 'static) -> bool {
        let Some((lane, link)) = self.0.as_ref().filter(|(_, link)| link.is_blocked()) else { return false };
        let asked = Rc::clone(link);
        let inquiry = link.blocked();
        match inquiry.known() {
            Blocked::NotKnown if link.phase() == Phase::Connecting => {
                inquiry.pause();
                tokio::task::spawn_local(async move {
                    // Where it cannot be opened, its client is told.
                    let _ = asked.opened().await;
                    asked.blocked().resume();
                    answered();
                });
            }
            Blocked::NotKnown => {
                if let Some(question) = inquiry.ask(link.info().client_id) {
                    lane.call(&question, move |answer| {
                        asked.blocked().answered(answer.reply());
                        answered();
                    });
                }
            }
            Blocked::Asked | Blocked::Waits => {}
        }
        inquiry.known() == Blocked::Waits
    }

    /// The server is asked to end the wait of the command that blocks on it, if one does.
    pub(super) fn end_blocking(&self) {
        let Some((lane, link)) = self.0.as_ref().filter(|(_, link)| link.is_blocked()) else { return };
        let Some(id) = link.info().client_id else { return };
        let request = encode::request_frame(&[b"CLIENT", b"UNBLOCK", id.to_string().as_bytes()]);
        // Without a connection to say it on, the drain timeout ends the wait.
        lane.call(&request, |_| {});
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
