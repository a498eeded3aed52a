//! Makes a connection that begins to connect.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::blame::Blame;
use super::blocked::BlockedInquiry;
use super::head_of_line::HeadOfLine;
use super::held_up::HeldUp;
use super::room::WaitingForRoom;
use super::silence::Silence;
use super::slow::{SlowWatch, Writes};
use super::{Link, Phase, State};
use crate::net::clock;
use crate::net::context::Context;
use crate::net::upstream::WorkerSettings;
use crate::net::upstream::connections::Permit;
use crate::telemetry::label::UpstreamState;
use respguard_engine::link::handshake::{ConnectParams, OrphanedConnection, ServerInfo};
use respguard_engine::link::inflight::Inflight;

impl Link {
    /// Starts to connect; requests can be queued at once. The orphaned connections are ended first.
    pub fn spawn(
        context: &Rc<Context>,
        settings: &Rc<WorkerSettings>,
        params: ConnectParams,
        permit: Permit,
        shared: bool,
        orphans: Vec<OrphanedConnection>,
    ) -> Rc<Link> {
        let link = Rc::new(Link {
            context: Rc::clone(context),
            settings: Rc::clone(settings),
            params,
            shared: Cell::new(shared),
            represents_server: Cell::new(false),
            state: RefCell::new(State {
                phase: Phase::Connecting,
                pipe: None,
                out: Vec::new(),
                out_at: 0,
                out_start: 0,
                inflight: Inflight::default(),
                writes: Writes::default(),
                info: ServerInfo::default(),
                refusal: None,
                last_read: clock::now(),
                beat_at: None,
                waiting: Vec::new(),
                waiting_for_room: WaitingForRoom::default(),
            }),
            waker: RefCell::new(None),
            woken: Cell::new(false),
            owner: RefCell::new(None),
            shown: Cell::new(None),
            unclean: Cell::new(false),
            blocked: BlockedInquiry::default(),
            down: Cell::new(None),
            over: Cell::new(false),
            orphans: RefCell::new(orphans),
            head_orphan: RefCell::default(),
            held_up: HeldUp::default(),
            head_of_line: HeadOfLine::default(),
            silence: Silence::default(),
            slow: SlowWatch::default(),
            retired: Cell::new(false),
            retirements: Cell::new(0),
            paced: Cell::new(None),
            hands_on: Cell::new(false),
            orphan_kills: RefCell::default(),
            ability: Cell::default(),
            struggling: Cell::new(false),
            finishing: Cell::new(false),
            has_carried_large: Cell::new(false),
            is_spliceable: Cell::new(false),
            may_transact: Cell::new(true),
            uncounted_loss: Cell::new(false),
            ended_by_server: Cell::new(None),
            blame: Blame::default(),
            login_validity: Cell::default(),
            opened_at: Cell::new(None),
            permit: Cell::new(Some(permit)),
            out_kept: Cell::new(0),
            user_connection: Cell::new(None),
            view: RefCell::default(),
            term: Cell::new(0),
            doubt: Cell::new(None),
            is_believed: Cell::new(false),
            at_once: RefCell::default(),
            touched: RefCell::default(),
            is_inside_frame: Cell::new(false),
        });
        link.show(Some(UpstreamState::Connecting));
        tokio::task::spawn_local(Rc::clone(&link).watch());
        link
    }
}
