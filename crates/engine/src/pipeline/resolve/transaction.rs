//! Tracks a client's own transaction from MULTI to EXEC's reply.

use super::{Part, Reading};
use crate::command::Table;
use crate::pipeline::failure_tracker::{self, Failure, FirstCommands};
use crate::pipeline::finding::{Finding, Place};
use crate::pipeline::group::proves_end;
use crate::pipeline::sequencer::Sequencer;
use crate::pipeline::slot::{Role, Slot};
use respguard_resp::scan::elements;

/// A longer answer to EXEC goes to the client as the server gives it: bounds what is kept.
const EXEC_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Sequencer {
    pub(in super::super) fn admit_transaction(&mut self, slot: &mut Slot, reading: &mut Reading<'_>) {
        let Reading { piece, part, context, .. } = *reading;
        match slot.role {
            Role::Multi if part.first && piece == b"+OK\r\n" => {
                if let Some(rare) = self.rare.get_mut() {
                    rare.transaction.iter_mut().for_each(|queued| queued.clear());
                    rare.exec_checks.clear();
                }
            }
            Role::Queued | Role::QueuedChecked(_) if part.last => {
                let check = match std::mem::replace(&mut slot.role, Role::Queued) {
                    Role::QueuedChecked(check) => Some(check),
                    _ => None,
                };
                if part.first && piece == b"+QUEUED\r\n" {
                    let may_write = context.table.spec(slot.command).may_write();
                    let rare = self.rare.make_mut();
                    rare.transaction.get_or_insert_default().queue(slot.command, may_write);
                    rare.exec_checks.queued(check);
                }
            }
            Role::Multi if part.first && piece != b"+OK\r\n" => {
                reading.session.transaction.forget();
                reading.found.push(Finding::CloseUpstream);
            }
            Role::Exec if part.last => {
                if part.first && !proves_end(piece, part.top) {
                    reading.found.push(Finding::CloseUpstream);
                }
                if part.top.errors > 0 {
                    report_transaction(
                        self.rare.make_mut().transaction.get_or_insert_default(),
                        piece,
                        part,
                        context.table,
                        reading.found,
                    );
                }
                if let Some(rare) = self.rare.get_mut() {
                    rare.exec_checks.clear();
                }
            }
            _ => {}
        }
    }

    pub(in super::super) fn keep_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let kept = self.rare.get_mut().and_then(|rare| rare.kept.as_mut());
        let Some(kept) = kept else { return out.extend_from_slice(piece) };
        kept.extend_from_slice(piece);
        if kept.len() > EXEC_BYTES_MAX {
            out.append(&mut self.take_exec());
        }
    }
}

/// A client's own transaction in which some of its `commands` failed and others did not.
fn report_transaction(commands: &FirstCommands, piece: &[u8], part: Part, table: &Table, found: &mut Vec<Finding>) {
    if part.top.errors >= part.top.elements {
        return;
    }
    // Which errors these are is known when EXEC's answer came in one piece.
    let failure = match part.first {
        true => (1..).zip(elements(piece)).find(|(_, reply)| failure_tracker::is_failure(reply)),
        false => Some((part.top.first_error + 1, &b""[..])),
    };
    let Some((place, error)) = failure else { return };
    let failure = Failure::new(place, error);
    found.push(Finding::PartialFailure(Place::Transaction));
    if commands.may_write() {
        found.push(Finding::Violation(failure_tracker::partial_failure(None, &failure, commands.iter(), table)));
    }
}
