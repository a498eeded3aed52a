//! Decides what happens to a command that changes its connection or needs its own.

use super::{Answer, Barrier, Decision};
use crate::command::{ClientCommand, ConnectionEffect, Lane, PinReason};
use crate::pipeline::plan::{Planner, Step};
use crate::pipeline::refuse::UNREADABLE;
use crate::pipeline::slot::Role;
use crate::session::ClientMode;
use crate::session::affinity::Reason;
use crate::session::lane::LaneChange;
use crate::session::reply_mode::ReplyMode;
use respguard_resp::request::Args;

impl Planner<'_> {
    pub(super) fn decide_effect(&mut self, at: usize, effect: ConnectionEffect, args: Args<'_>, present: bool) -> Decision {
        let pinned = self.session.affinity.is_pinned();
        match effect {
            ConnectionEffect::None => Decision::Send(Role::Plain),
            // What the server does not list goes where it would go all the same: Redis before 7.0 does not list QUIT,
            // and a server that was upgraded meanwhile has what the one before it lacked. Only what the proxy would
            // answer by itself is left to the server.
            // Maintenance notifications are the proxy's own, whatever the server has.
            ConnectionEffect::ClientCommand(command) if !present && command != ClientCommand::ClientMaintNotifications => {
                Decision::Send(Role::Plain)
            }
            // Libraries ask for it as they connect; a server that does not know it refuses it, and nothing has changed.
            ConnectionEffect::Pin(PinReason::Capability) if !present => Decision::Send(Role::Plain),
            ConnectionEffect::Reset if !present => self.on_lease(Reason::Exclusive),
            // Invalidations come to a connection of the client's own.
            ConnectionEffect::ClientCommand(ClientCommand::ClientTracking) if self.session.affinity.is_passing() => {
                Decision::Barrier(Barrier::Pin(Reason::Exclusive))
            }
            // The server says what is wrong with it.
            ConnectionEffect::ClientCommand(ClientCommand::ClientReply) if ReplyMode::read(args).is_none() => {
                Decision::Send(Role::Plain)
            }
            ConnectionEffect::ClientCommand(command) => Decision::Barrier(Barrier::ClientCommand(command)),
            ConnectionEffect::Lane(lane) => self.decide_lane(lane, args),
            ConnectionEffect::Transaction(what) => self.decide_transaction(at, what),
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) if !pinned => {
                Decision::Barrier(Barrier::Pin(Reason::Subscription))
            }
            ConnectionEffect::Subscribe(_) | ConnectionEffect::Unsubscribe(_) => self.decide_subscriber(effect, args),
            ConnectionEffect::Blocking => self.on_lease(Reason::Blocking),
            ConnectionEffect::Pin(PinReason::Wait) => {
                if pinned {
                    self.end_run(at);
                    self.plan.steps.push(Step::CatchUp);
                }
                self.on_lease(Reason::Blocking)
            }
            ConnectionEffect::Pin(PinReason::Replication) if self.spec(at).name().ends_with("sync") => {
                Decision::Answer(Answer::NoReplica)
            }
            ConnectionEffect::Pin(PinReason::Replication) if !self.rules.policy.is_empty() => {
                Decision::Answer(Answer::Refuse(UNREADABLE))
            }
            ConnectionEffect::Monitor | ConnectionEffect::Pin(PinReason::Replication) => self.on_tunnel(),
            // Who keeps a connection of his own has it already, and may be somebody else on it.
            ConnectionEffect::Spare if !self.session.affinity.is_passing() => Decision::Send(Role::Plain),
            ConnectionEffect::Pin(PinReason::Shutdown) if !self.session.affinity.is_passing() => self.on_tunnel(),
            ConnectionEffect::Pin(PinReason::Shutdown) => Decision::Barrier(Barrier::Spare),
            ConnectionEffect::Pin(PinReason::Tracking) if self.spec(at).name() == "client|caching" => {
                self.session.caching |= pinned;
                self.on_lease(Reason::Exclusive)
            }
            ConnectionEffect::Pin(what @ (PinReason::NoEvict | PinReason::NoTouch)) if pinned => {
                self.session.affinity.pin(Reason::Exclusive);
                let mode = if what == PinReason::NoEvict { ClientMode::NoEvict } else { ClientMode::NoTouch };
                Decision::Send(Role::Mode(mode, args.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"on"))))
            }
            ConnectionEffect::Pin(_) => self.on_lease(Reason::Exclusive),
            ConnectionEffect::Spare => Decision::Barrier(Barrier::Spare),
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
        }
    }

    fn decide_lane(&mut self, lane: Lane, args: Args<'_>) -> Decision {
        let Some(change) = LaneChange::read(lane, args) else {
            return Decision::Send(Role::Plain);
        };
        // What makes up for a change that was missed is noted once the server has agreed to it.
        if lane == Lane::Hello && change.is_idle(self.session.protocol) && !self.session.missed.any() {
            return Decision::Send(Role::Hello);
        }
        // A lease that cannot be left changes lanes itself, and can serve nobody else afterwards. Without a
        // lease there is nothing to keep: what tied the client to one may be lost.
        if self.session.affinity.is_pinned() && !self.session.is_free() {
            self.session.affinity.pin(Reason::Exclusive);
        }
        Decision::Barrier(Barrier::Lane)
    }

    fn on_lease(&mut self, reason: Reason) -> Decision {
        if !self.session.affinity.is_pinned() {
            return Decision::Barrier(Barrier::Pin(reason));
        }
        self.session.affinity.pin(reason);
        Decision::Send(Role::Plain)
    }

    pub(super) fn on_tunnel(&self) -> Decision {
        Decision::Barrier(Barrier::Pin(Reason::Tunnel))
    }

    /// What a RESP2 client in subscribe mode sends, and every (un)subscribe command.
    pub(super) fn decide_subscriber(&mut self, effect: ConnectionEffect, args: Args<'_>) -> Decision {
        match effect {
            ConnectionEffect::Subscribe(_) => {
                self.session.subscriptions.sent();
                Decision::Send(Role::Subscription { frames: frames(args), confirmed: 0 })
            }
            ConnectionEffect::Unsubscribe(kind) => {
                self.session.subscriptions.sent();
                let role = if args.len() > 1 {
                    Role::Subscription { frames: frames(args), confirmed: 0 }
                } else {
                    Role::UnsubscribeAll(kind)
                };
                Decision::Send(role)
            }
            ConnectionEffect::Quit => Decision::Barrier(Barrier::Quit),
            ConnectionEffect::Reset => Decision::Barrier(Barrier::Reset),
            // Refused in subscribe mode, but not behind the last UNSUBSCRIBE: planned again when that is answered.
            _ if self.session.subscriptions.is_changing() => Decision::Barrier(Barrier::Pin(Reason::Subscription)),
            _ => Decision::Send(Role::Plain),
        }
    }
}

fn frames(args: Args<'_>) -> u32 {
    u32::try_from(args.len() - 1).unwrap_or(u32::MAX)
}
