//! Tells all who wait that something has changed, in the order in which they began to wait: they go on in the same order in each
//! run of a simulation. Tokio's own watch channel wakes them in a random one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Whoever knows of the changes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ChangeNotifier(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How often something has changed.
    times: AtomicU64,
    told: Notify,
}

/// Whoever waits.
#[derive(Debug, Clone)]
pub struct Subscription {
    notifier: ChangeNotifier,
    /// What it has heard.
    times: u64,
}

impl ChangeNotifier {
    /// Something has changed.
    pub fn notify(&self) {
        self.0.times.fetch_add(1, Ordering::AcqRel);
        self.0.told.notify_waiters();
    }

    /// Hears of what changes from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { times: self.0.times.load(Ordering::Acquire), notifier: self.clone() }
    }
}

impl Subscription {
    /// What has changed until now counts no more.
    pub fn mark_unchanged(&mut self) {
        self.times = self.notifier.0.times.load(Ordering::Acquire);
    }

    /// Returns when something has changed since the last time. May be dropped at any moment: nothing is missed.
    pub async fn changed(&mut self) {
        loop {
            let mut told = std::pin::pin!(self.notifier.0.told.notified());
            told.as_mut().enable();
            let times = self.notifier.0.times.load(Ordering::Acquire);
            if times != self.times {
                self.times = times;
                return;
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[tokio::test]
    async fn all_hear_it_in_the_order_in_which_they_began_to_wait() {
        let (notifier, heard) = (ChangeNotifier::default(), Rc::new(RefCell::new(Vec::new())));
        let local = tokio::task::LocalSet::new();
        let waits: Vec<_> = (0..20)
            .map(|number| {
                let (mut subscription, heard) = (notifier.subscribe(), Rc::clone(&heard));
                local.spawn_local(async move {
                    subscription.changed().await;
                    heard.borrow_mut().push(number);
                })
            })
            .collect();
        local.run_until(tokio::task::yield_now()).await;
        notifier.notify();
        local
            .run_until(async {
                for wait in waits {
                    wait.await.expect("it hears")
                }
            })
            .await;
        assert_eq!(*heard.borrow(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_told_before_it_waits_is_heard_once() {
        let notifier = ChangeNotifier::default();
        let mut subscription = notifier.subscribe();
        notifier.notify();
        notifier.notify();
        subscription.changed().await;
        notifier.notify();
        subscription.mark_unchanged();
        tokio::select! {
            biased;
            () = subscription.changed() => panic!("nothing has changed"),
            () = tokio::task::yield_now() => {}
        }
    }
}
