//! A cluster as one server: each client has its own connection to it, within the process.
//!
//! `connection` is its end that a link reads and writes like a socket, `at_once` the way past the turns of that link's task.
//! `intake` cuts what is written into requests and says of each where it goes, `cut` takes those that the client's batch has
//! cut already, of which `simple` are nearly all: they go to their nodes without more ado. `turn` looks at the others, as
//! far as nothing before them stands against them (`hindrances`, and `half_moved` for slots whose keys are at two nodes), and
//! again at those that could not go (`waiting_requests`). Where the words of one are needed later, `written_request` has them.
//!
//! `dispatch` sends each to its node over connections that all clients of the worker share (`nodes`), `scatter` all single
//! requests for one node in one piece (`pieces`), whose replies come in `streams` and leave `together`. `replies` takes what
//! comes back, follows redirects (`retry` says when), and lets replies leave in the order of the requests. `blocked` says at
//! which nodes a command waits that blocks.
//!
//! `transaction` looks after WATCH, MULTI and EXEC: `in_two` sends what has a WATCH in two parts where `unsettled` says that
//! something has just changed. `gather` looks after requests that several nodes answer, of which `parts` sends each part;
//! `walk` is the cursor of SCAN. `proxy_reply` answers in the cluster's name, `login` changes who the client is.
//! `subscriptions` says on which nodes a client listens, `listener` takes what comes from each, `messages` hands it on. `late`
//! knows what nodes may still run of what was given up.
//!
//! `room` says what long requests and merged replies wait for, and who gives way.
//!
//! What fails on the way is told to the link as what a server's connection would have met, so that all that is decided
//! there, about groups above all, stays as it is.

mod at_once;
mod blocked;
mod connection;
mod core;
mod cut;
mod dispatch;
mod entry;
mod gather;
mod half_moved;
mod hindrances;
mod in_two;
mod inquiry;
mod intake;
mod late;
mod listener;
mod loading;
mod login;
mod messages;
mod node;
pub mod nodes;
mod parts;
mod pieces;
mod proxy_reply;
mod replies;
mod retry;
mod room;
mod scatter;
mod scripts;
pub mod settings;
mod simple;
mod state;
mod streams;
mod subscriptions;
mod times;
mod together;
mod traffic;
mod transaction;
mod turn;
mod unsent;
mod unsettled;
mod waiting_requests;
mod walk;
mod written_request;

pub use at_once::AtOnce;
pub use blocked::BlockedAt;
pub use connection::{ClusterConnection, HeadFault};
pub use scripts::Scripts;
pub use traffic::Traffic;
