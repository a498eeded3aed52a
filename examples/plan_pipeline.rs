//! Embeds the engine: says what would go to the server for a pipeline, without a socket or a server.
//!
//! ```sh
//! cargo run --example plan_pipeline
//! cargo run --example plan_pipeline -- 'HSET blobs:1 bytes abc' 'HSET info:1 type text/plain' 'GET other'
//! ```

use std::ops::Range;

use respguard_engine::command::Table;
use respguard_engine::pipeline::batch::{Batch, Tail};
use respguard_engine::pipeline::plan::{Plan, Rules, Step, plan};
use respguard_engine::pipeline::ttl::Undecided;
use respguard_engine::policy::rule::{Written, WrittenGroup, WrittenMember};
use respguard_engine::policy::{Policy, compile};
use respguard_engine::session::Session;
use respguard_resp::encode;
use respguard_resp::request::{Limits, RequestParser};

const UPLOAD: [&str; 3] = ["GET other", "HSET blobs:1 bytes abc", "HSET info:1 type text/plain"];

fn main() -> Result<(), String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let lines = if given.is_empty() { UPLOAD.map(str::to_owned).to_vec() } else { given };
    for line in explain(&lines)? {
        println!("{line}");
    }
    Ok(())
}

/// One line for each step that the pipeline would take.
fn explain(lines: &[String]) -> Result<Vec<String>, String> {
    let table = Table::builtin();
    let policy = upload_rule(&table)?;
    let bytes = encoded(lines);

    // Bytes become commands: each is cut out, looked up in the table, and not copied.
    let mut batch = Batch::default();
    let mut parser = RequestParser::new(Limits::default());
    if let Tail::Error(error) = batch.parse(&mut parser, &table, &bytes, usize::MAX) {
        return Err(format!("not a request: {error}"));
    }

    // Commands become steps. The session remembers what the client has said before; this one has just connected.
    let rules = Rules::usual(&table, &policy);
    let (mut session, mut undecided, mut planned) = (Session::default(), Undecided::default(), Plan::default());
    plan(&mut session, &mut undecided, rules, &batch, &bytes, false, &mut planned);

    let text = |at: usize| {
        let words: Vec<_> = batch.args(&bytes, at).iter().map(String::from_utf8_lossy).collect();
        words.join(" ")
    };
    let mut told: Vec<String> = planned.steps.iter().map(|step| told(step, &planned, &policy, &text)).collect();
    if let Some(barrier) = planned.turn {
        told.push(format!("then, before anything else: {barrier:?} for {}", text(planned.commands)));
    }
    Ok(told)
}

/// An upload is two hashes, or none.
fn upload_rule(table: &Table) -> Result<Policy, String> {
    let member = |template: &str| WrittenMember { template: template.to_owned(), ..WrittenMember::default() };
    let commands = ["HSET blobs:{id} ...", "HSET info:{id} ..."].map(member).to_vec();
    let upload = WrittenGroup { name: "upload".to_owned(), commands: Some(commands), ..WrittenGroup::default() };
    compile(&Written { groups: vec![upload], ..Written::default() }, table).map_err(|errors| format!("{errors:?}"))
}

fn encoded(lines: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        encode::request(&mut bytes, &words);
    }
    bytes
}

fn told(step: &Step, plan: &Plan, policy: &Policy, text: &dyn Fn(usize) -> String) -> String {
    let all = |commands: &Range<usize>| commands.clone().map(text).collect::<Vec<_>>().join("; ");
    let members =
        |members: &Range<usize>| plan.members[members.clone()].iter().map(|&at| text(at)).collect::<Vec<_>>().join("; ");
    match step {
        Step::Send { commands } => format!("as sent: {}", all(commands)),
        Step::Watch { commands, group, .. } => format!("group {}, as sent: {}", policy.groups()[*group].name, all(commands)),
        Step::Wrap { members: range, group, .. } => {
            format!("group {}, in one write: MULTI; {}; EXEC", policy.groups()[*group].name, members(range))
        }
        Step::Guard { members: range, group, .. } => {
            format!("group {}, behind its preflight: MULTI; {}; EXEC", policy.groups()[*group].name, members(range))
        }
        Step::Span(span) => {
            let names = span.groups.iter().map(|group| &*policy.groups()[group.group].name).collect::<Vec<_>>().join(", ");
            format!("groups {names}, in one write: MULTI; {}; EXEC", members(&span.commands))
        }
        Step::RefuseGroup { members: range, group, .. } => {
            format!("group {}, refused: {}", policy.groups()[*group].name, members(range))
        }
        Step::Refuse { command, .. } => format!("refused: {}", text(*command)),
        Step::Answer { command, .. } => format!("answered without the server: {}", text(*command)),
        Step::TtlFix { command, .. } => format!("with a TTL, in one write: MULTI; {}; EXEC", text(*command)),
        Step::Probe(_) | Step::CatchUp => "a question of the proxy's own".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(lines: &[&str]) -> Vec<String> {
        explain(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>()).expect("requests")
    }

    #[test]
    fn an_upload_is_one_transaction_and_all_else_goes_as_sent() {
        let group = "group upload, in one write: MULTI; HSET blobs:1 bytes abc; HSET info:1 type text/plain; EXEC";
        assert_eq!(explained(&UPLOAD), ["as sent: GET other", group]);
    }

    #[test]
    fn what_blocks_waits_for_a_connection_of_its_own() {
        assert_eq!(explained(&["GET a", "BLPOP list 1"]).len(), 2);
    }
}
