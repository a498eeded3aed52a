//! One line per command: what it is, and what would be done with it.

use super::page::Page;
use super::steps::Planned;
use respguard_engine::pipeline::plan::Step;

impl Planned<'_> {
    pub(super) fn write_brief(&self, page: &mut Page) {
        for step in &self.plan.steps {
            let noted = self.noted(step);
            noted.iter().for_each(|noted| page.note(noted));
            let done: Vec<String> = noted.iter().map(ToString::to_string).collect();
            let own = if self.pinned { ", on the client's own connection" } else { "" };
            for at in self.commands_of(step) {
                page.line(1, format_args!("{:<3} {}  -> {}{own}", self.number(at), self.request(at), done.join(", ")));
            }
        }
        self.write_notes(page);
    }

    /// The client's commands that a step is about, in their order.
    fn commands_of(&self, step: &Step) -> Vec<usize> {
        let members = |range: &std::ops::Range<usize>| self.plan.members[range.clone()].to_vec();
        match step {
            Step::Send { commands } | Step::Watch { commands, .. } => commands.clone().collect(),
            Step::Wrap { members: range, .. } | Step::Guard { members: range, .. } | Step::RefuseGroup { members: range, .. } => {
                members(range)
            }
            Step::Span(span) => members(&span.commands),
            Step::Answer { command, .. } | Step::Refuse { command, .. } | Step::TtlFix { command, .. } => vec![*command],
            Step::Probe(_) | Step::CatchUp => Vec::new(),
        }
    }
}
