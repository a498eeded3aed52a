//! Analyses a transaction with commands between the members of guarded groups.
//!
//! What those do to keys is followed as far as it is known before they run. A member that depends on more than that is refused.

use super::analysis::GroupAnalysis;
use super::key_aliases::KeyAliases;
use super::{Check, Fault, Refusal, Requirement, first_key, table, wrong_arity};
use crate::command::{CommandId, PlainKeys, Spec, Table};
use respguard_resp::request::Args;

/// Why nobody can tell what a member would do.
pub const UNPREDICTABLE: &str = "it depends on what a command between the members makes of its key";

/// One command of the transaction.
#[derive(Debug, Clone)]
pub struct Carried<'a> {
    /// Its place in the table.
    pub id: CommandId,
    /// Its words, the name first.
    pub args: Args<'a>,
    /// The guarded group that it is a member of, by a number of its own.
    pub part: Option<usize>,
    /// What that group requires of its first key.
    pub required: Option<Requirement<'a>>,
}

/// Who has written a key so far: one part, by one more than its number, or somebody else.
const OTHERS: usize = 0;

/// What must be true before the transaction for no member of a guarded group to fail.
///
/// # Errors
/// The first member that fails, or of which nothing can be told; its place is the one among all commands.
pub fn examine_carried<'a>(table: &Table, commands: &[Carried<'a>]) -> Result<Vec<Check<'a>>, Refusal> {
    let mut analysis = GroupAnalysis::default();
    let mut writers = Writers::default();
    for (member, command) in commands.iter().enumerate() {
        let refused = |fault| Refusal { member, fault };
        if let Some(requirement) = &command.required {
            writers.require(&mut analysis, table, member, command, requirement).map_err(refused)?;
        }
        writers.note(table.spec(command.id), command);
    }
    let mut unknown_keys = UnknownKeys::default();
    for (member, command) in commands.iter().enumerate() {
        let examined = match command.part {
            Some(_) => unknown_keys.examine(&mut analysis, table.spec(command.id), member, command),
            None => {
                unknown_keys.follow(&mut analysis, table.spec(command.id), member, command);
                Ok(())
            }
        };
        examined.map_err(|fault| Refusal { member, fault })?;
    }
    Ok(analysis.take_checks())
}

/// What a command may change.
enum WriteScope {
    Nothing,
    /// Its keys.
    Keys,
    /// Nobody knows.
    Everything,
}

fn write_scope(spec: &Spec, args: Args<'_>) -> WriteScope {
    if !spec.may_write() || matches!(spec.name(), "publish" | "spublish") {
        return WriteScope::Nothing;
    }
    match spec.plain_keys(args, &mut |_| {}) {
        PlainKeys::None => WriteScope::Everything,
        PlainKeys::Complete | PlainKeys::Malformed => WriteScope::Keys,
    }
}

/// Which part has written each key, as far as requirements want to know.
#[derive(Default)]
struct Writers<'a> {
    keys: KeyAliases<&'a [u8]>,
    everything: bool,
}

impl<'a> Writers<'a> {
    fn require(
        &self,
        analysis: &mut GroupAnalysis<'a>,
        table: &Table,
        member: usize,
        command: &Carried<'a>,
        requirement: &Requirement<'a>,
    ) -> Result<(), Fault> {
        let spec = table.spec(command.id);
        let Some(key) = first_key(spec, command.args) else {
            // Where its arguments are wrong, that is said of it.
            let is_wrong = !spec.arity_fits(command.args);
            return if is_wrong { Ok(()) } else { Err(Fault::Undecided("something is required of its key, and it names none")) };
        };
        let is_foreign = self.keys.get(key).is_some_and(|writer| Some(writer) != command.part.map(|part| part + 1));
        if self.everything || is_foreign {
            return Err(Fault::Undecided(UNPREDICTABLE));
        }
        analysis.requires(member, key, requirement.clone())
    }

    fn note(&mut self, spec: &Spec, command: &Carried<'a>) {
        match write_scope(spec, command.args) {
            WriteScope::Nothing => {}
            WriteScope::Everything => self.everything = true,
            WriteScope::Keys => {
                spec.for_each_key(command.args, &mut |place, _| {
                    let Some(key) = command.args.get(place) else { return };
                    let writer = command.part.map_or(OTHERS, |part| part + 1);
                    let is_first = self.keys.get(key).is_none_or(|before| before == writer);
                    self.keys.set(key, if is_first { writer } else { OTHERS });
                });
            }
        }
    }
}

/// Keys of which nothing is known any more.
#[derive(Default)]
struct UnknownKeys<'a> {
    keys: KeyAliases<&'a [u8]>,
    everything: bool,
}

impl<'a> UnknownKeys<'a> {
    fn touches(&self, spec: &Spec, args: Args<'a>) -> bool {
        let mut touches = self.everything;
        spec.for_each_key(args, &mut |place, _| touches |= args.get(place).is_some_and(|key| self.keys.get(key).is_some()));
        touches
    }

    fn add(&mut self, spec: &Spec, args: Args<'a>) {
        spec.for_each_key(args, &mut |place, _| {
            if let Some(key) = args.get(place) {
                self.keys.set(key, 0);
            }
        });
    }

    /// A member that must not fail.
    fn examine(
        &mut self,
        analysis: &mut GroupAnalysis<'a>,
        spec: &Spec,
        member: usize,
        command: &Carried<'a>,
    ) -> Result<(), Fault> {
        let args = command.args;
        if !spec.arity_fits(args) {
            return Err(Fault::Certain(wrong_arity(spec)));
        }
        let Some(rule) = table::rule(command.id).filter(|_| spec.present) else {
            return Err(Fault::Undecided("nothing can be told of this command before it runs"));
        };
        if !self.touches(spec, args) {
            analysis.begin(member, args);
            return rule(analysis);
        }
        if !never_fails(rule, args)? {
            return Err(Fault::Undecided(UNPREDICTABLE));
        }
        // What it makes of other keys is made of what is not known.
        self.add(spec, args);
        Ok(())
    }

    /// A command that may fail.
    fn follow(&mut self, analysis: &mut GroupAnalysis<'a>, spec: &Spec, member: usize, command: &Carried<'a>) {
        let args = command.args;
        match write_scope(spec, args) {
            WriteScope::Nothing => {}
            WriteScope::Everything => self.everything = true,
            WriteScope::Keys => {
                let rule = table::rule(command.id).filter(|_| spec.present && spec.arity_fits(args));
                match rule {
                    Some(rule) if !self.touches(spec, args) && never_fails(rule, args).unwrap_or(false) => {
                        analysis.begin(member, args);
                        // It has no questions, and so no errors.
                        if rule(analysis).is_err() {
                            self.add(spec, args);
                        }
                    }
                    _ => self.add(spec, args),
                }
            }
        }
    }
}

/// Whether it cannot fail, whatever its keys hold.
///
/// # Errors
/// It always does.
fn never_fails(rule: table::Rule, args: Args<'_>) -> Result<bool, Fault> {
    let mut alone = GroupAnalysis::default();
    alone.begin(0, args);
    match rule(&mut alone) {
        Ok(()) => Ok(alone.take_checks().is_empty()),
        Err(Fault::Undecided(_)) => Ok(false),
        Err(certain) => Err(certain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::written::WrittenRequest;

    /// The checks of a transaction whose members of a guarded group begin with `!`.
    fn checks(lines: &[&str]) -> Result<Vec<(usize, String)>, (usize, bool)> {
        let table = Table::builtin();
        let requests: Vec<_> = lines.iter().map(|line| WrittenRequest::new(line.trim_start_matches('!'))).collect();
        let commands: Vec<_> = requests
            .iter()
            .zip(lines)
            .map(|(request, line)| {
                let args = request.args();
                Carried { id: table.lookup(args), args, part: line.starts_with('!').then_some(0), required: None }
            })
            .collect();
        let checks = examine_carried(&table, &commands);
        checks
            .map(|checks| checks.iter().map(|check| (check.member, String::from_utf8_lossy(check.key).into_owned())).collect())
            .map_err(|refusal| (refusal.member, matches!(refusal.fault, Fault::Certain(_))))
    }

    #[test]
    fn commands_on_other_keys_and_those_that_read_disturb_nobody() {
        let asked = Ok(vec![(2, "s".to_owned())]);
        assert_eq!(checks(&["!SET k v", "INCR other", "!SADD s a"]), asked);
        assert_eq!(checks(&["!SET k v", "SMEMBERS s", "!SADD s a"]), asked);
        assert_eq!(checks(&["!SET k v", "PUBLISH c m", "!SADD s a"]), asked);
        assert_eq!(checks(&["!SET k v", "EVAL_RO x 1 s", "!SADD s a"]), asked);
    }

    #[test]
    fn what_cannot_fail_is_followed() {
        assert_eq!(checks(&["!SET k v", "DEL s", "!SADD s a"]), Ok(vec![]));
        assert_eq!(checks(&["!SET k v", "SET s x", "!SADD s a"]), Err((2, true)));
    }

    #[test]
    fn a_member_that_depends_on_what_may_fail_is_refused() {
        assert_eq!(checks(&["!SET k v", "LPUSH s x", "!SADD s a"]), Err((2, false)));
        assert_eq!(checks(&["!SET k v", "EVAL x 0", "!SADD s a"]), Err((2, false)));
        assert_eq!(checks(&["!SET k v", "APPEND k x", "!APPEND k y"]), Err((2, false)));
        assert_eq!(checks(&["!SET k v", "LPUSH s x", "!DEL s", "!EXPIRE k 5"]), Ok(vec![]), "these cannot fail");
        assert_eq!(checks(&["!SET k v", "LPUSH s x", "!RENAME s t"]), Err((2, false)));
    }
}
