//! Virtual time: it stands still while anything can go on, and then jumps to the next thing that waits for it.
//!
//! Sockets are the kernel's, between tasks of one thread: what one task writes, another can read at once. Tokio's paused
//! clock moves on whenever the thread would sleep, bytes in sockets or not, so the thread is kept from sleeping until
//! it has looked at the sockets several times in a row without anybody having had anything to do.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Looks at the sockets before time moves on: a byte passes three tasks between two that call `stir`.
const QUIET_ROUNDS: u32 = 5;

thread_local! {
    static ROUNDS: Cell<u32> = const { Cell::new(0) };
    static KEEPER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A runtime whose time is virtual; `on_unpark` runs whenever time may have moved.
pub fn runtime(on_unpark: fn()) -> LocalRuntime {
    ROUNDS.set(0);
    KEEPER.take();
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(before_park)
        .on_thread_unpark(on_unpark)
        .build_local(LocalOptions::default())
        .expect("a runtime")
}

/// Begins to keep the thread awake; to be called once on the runtime.
pub fn keep() {
    tokio::task::spawn_local(std::future::poll_fn(|cx| {
        KEEPER.replace(Some(cx.waker().clone()));
        Poll::<()>::Pending
    }));
}

/// Somebody has had something to do.
pub fn stir() {
    ROUNDS.set(0);
}

fn before_park() {
    if ROUNDS.replace(ROUNDS.get() + 1) < QUIET_ROUNDS {
        KEEPER.with_borrow(|keeper| keeper.iter().for_each(Waker::wake_by_ref));
    } else {
        ROUNDS.set(0);
    }
}
