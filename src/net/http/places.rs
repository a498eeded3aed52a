//! Places for HTTP connections: idle ones give way to new ones, and probes are answered where all others are busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// Connections beyond these, on which nothing but probes is answered.
pub const SPARE_MAX: usize = 8;

/// All places of a listener. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<BTreeMap<u64, Arc<State>>>>,
    /// Numbers places, and the moments from which on they are idle.
    counter: Arc<AtomicU64>,
}

/// One connection's place. The last clone frees it.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    id: u64,
    state: Arc<State>,
    places: Places,
}

#[derive(Debug)]
struct State {
    spare: bool,
    /// Requests that are not answered to their end.
    requests: AtomicUsize,
    idle_since: AtomicU64,
    leave: CancellationToken,
}

/// Keeps a place from counting as idle.
#[derive(Debug)]
pub(super) struct Busy(Place);

impl Places {
    /// A place, if need be that of the connection that has been idle for the longest; `None` where all are busy.
    pub(super) fn enter(&self) -> Option<Place> {
        let mut taken = self.lock();
        let spare = !make_room(&mut taken, false, CONNECTIONS_MAX);
        if spare && !make_room(&mut taken, true, SPARE_MAX) {
            return None;
        }
        let id = self.counter.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State {
            spare,
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(id),
            leave: CancellationToken::new(),
        });
        taken.insert(id, Arc::clone(&state));
        Some(Place(Arc::new(Taken { id, state, places: self.clone() })))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<State>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is room for one more of this kind; an idle one is told to leave for it.
fn make_room(taken: &mut BTreeMap<u64, Arc<State>>, spare: bool, most: usize) -> bool {
    let of_kind = || taken.iter().filter(|(_, state)| state.spare == spare);
    if of_kind().count() < most {
        return true;
    }
    let idle = of_kind().filter(|(_, state)| state.requests.load(Ordering::Relaxed) == 0);
    let longest = idle.min_by_key(|(_, state)| state.idle_since.load(Ordering::Relaxed)).map(|(id, _)| *id);
    longest.and_then(|id| taken.remove(&id)).map(|state| state.leave.cancel()).is_some()
}

impl Place {
    /// Whether nothing but probes is answered here.
    pub(super) fn is_spare(&self) -> bool {
        self.0.state.spare
    }

    /// Whether a request is not answered to its end.
    pub(super) fn is_busy(&self) -> bool {
        self.0.state.requests.load(Ordering::Relaxed) > 0
    }

    /// Cancelled when the connection is to give way.
    pub(super) fn leave(&self) -> CancellationToken {
        self.0.state.leave.clone()
    }

    /// A request has begun; it ends when what is given back is dropped.
    pub(super) fn begin_request(&self) -> Busy {
        self.0.state.requests.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Busy(Place(taken)) = self;
        taken.state.idle_since.store(taken.places.counter.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        taken.state.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(places: &Places) -> Vec<Place> {
        (0..CONNECTIONS_MAX).map(|_| places.enter().expect("room")).collect()
    }

    #[test]
    fn the_connection_that_is_idle_for_the_longest_gives_way() {
        let places = Places::default();
        let open = full(&places);
        // The first has just been answered, the second is being answered.
        drop(open[0].begin_request());
        let _busy = open[1].begin_request();
        let late = places.enter().expect("room");
        assert!(!late.is_spare());
        let leaving: Vec<usize> = (0..open.len()).filter(|at| open[*at].leave().is_cancelled()).collect();
        assert_eq!(leaving, [2]);
        drop(late);
        places.enter().expect("the place that came free");
        assert_eq!(open.iter().filter(|place| place.leave().is_cancelled()).count(), 1);
    }

    #[test]
    fn where_all_are_busy_there_are_spare_places_and_then_none() {
        let places = Places::default();
        let open = full(&places);
        let mut busy: Vec<Busy> = open.iter().map(Place::begin_request).collect();
        let spare: Vec<Place> = (0..SPARE_MAX).map(|_| places.enter().expect("room")).collect();
        assert!(spare.iter().all(Place::is_spare));
        let next = places.enter().expect("an idle spare one gives way");
        assert!(next.is_spare() && spare[0].leave().is_cancelled() && !spare[1].leave().is_cancelled());
        busy.extend(spare[1..].iter().chain([&next]).map(Place::begin_request));
        assert!(places.enter().is_none());
        drop(busy);
        assert!(!places.enter().expect("room").is_spare());
    }
}
