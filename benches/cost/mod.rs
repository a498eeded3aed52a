//! What one pass costs: time, and allocations as a counting allocator sees them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

/// The system's allocator, counting what one thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// For one unit of what a pass does.
#[derive(Clone, Copy)]
pub struct Cost {
    pub time_ns: f64,
    pub allocations: f64,
}

/// The least time of many passes, and the allocations of the last, per unit; each pass of `measured` does `units` and
/// has a `prepare` before it that is not counted.
pub fn cost<T>(units: usize, mut prepare: impl FnMut() -> T, mut measured: impl FnMut(T) -> usize) -> Cost {
    let (mut best, mut allocations) = (Duration::MAX, 0);
    for _ in 0..20_000 {
        let input = prepare();
        let before = ALLOCATIONS.get();
        let start = Instant::now();
        let done = measured(input);
        best = best.min(start.elapsed());
        allocations = ALLOCATIONS.get() - before;
        assert_eq!(done, units, "a pass does all that it should");
    }
    Cost { time_ns: best.as_nanos() as f64 / units as f64, allocations: allocations as f64 / units as f64 }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} ns {:.1} a", self.time_ns, self.allocations))
    }
}
