//! Tests of `compile`.

use super::*;
use crate::policy::rule::{
    Atomic, GuardAction, Mode, OnDuplicate, OnUnsupported, Order, WrittenCompress, WrittenExpect, WrittenGroup, WrittenGuard,
    WrittenMember, WrittenPipeline,
};

fn group(commands: &[&str]) -> WrittenGroup {
    let member = |text: &&str| WrittenMember { template: text.to_string(), ..WrittenMember::default() };
    let commands = Some(commands.iter().map(member).collect());
    WrittenGroup { name: "g".into(), commands, ..WrittenGroup::default() }
}

fn ttl(keys: &[&str]) -> WrittenTtl {
    let keys = keys.iter().map(ToString::to_string).collect();
    WrittenTtl { name: "t".into(), keys, ..WrittenTtl::default() }
}

fn with_groups(groups: Vec<WrittenGroup>) -> Vec<RuleError> {
    compile(&Written { groups, ..Written::default() }, &Table::builtin()).err().unwrap_or_default()
}

fn with_ttl(ttl: WrittenTtl) -> Vec<RuleError> {
    compile(&Written { ttls: vec![ttl], ..Written::default() }, &Table::builtin()).err().unwrap_or_default()
}

/// The path and the whole text of the only error.
fn only(errors: Vec<RuleError>) -> (String, String) {
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = &errors[0];
    (error.path.clone(), format!("{} (expected {})", error.message, error.expected))
}

/// The error about a member, in a group with another that is right.
fn member_error(template: &str) -> String {
    let (path, text) = only(with_groups(vec![group(&["SET a *", template])]));
    assert_eq!(path, "group[0].commands[1]", "{template}");
    text
}

#[test]
fn an_unknown_command_is_refused_with_one_that_is_near() {
    assert!(member_error("SETXE a 1 *").contains("\"SETXE\" is not a known command (expected perhaps SETEX"));
    assert!(member_error("frobnicate a").contains("is not a known command"));
    assert!(member_error("").contains("there is no command"));
}

#[test]
fn a_command_that_cannot_be_in_a_group_is_refused() {
    for template in ["BLPOP a 0", "SUBSCRIBE a", "SELECT 1", "MULTI", "WATCH a", "CLIENT SETNAME a", "WAIT 1 0", "SAVE"] {
        assert!(member_error(template).contains("cannot be in a group"), "{template}");
    }
}

#[test]
fn a_number_of_arguments_that_never_fits_is_refused() {
    for template in ["GET", "GET a b", "GET a b ...", "SETEX a 1", "SET a", "DEL"] {
        assert!(member_error(template).contains("arguments"), "{template}");
    }
    for template in ["GET a", "GET ...", "GET a ...", "SET a b", "SET a b c d e", "DEL a", "DEL ...", "SETEX a 1 *"] {
        assert_eq!(with_groups(vec![group(&["SET a *", template])]), [], "{template}");
    }
}

#[test]
fn a_word_that_is_no_pattern_is_refused() {
    assert!(member_error("SET a:{} *").contains("a capture has no name"));
    assert!(member_error("SET a:{x *").contains("`{` is never closed"));
    assert!(member_error("SET {a}{b} *").contains("two wildcards touch"));
    assert!(member_error("DEL a ... b").contains("`...` is not the last word"));
    assert!(member_error("SETEX a ...").contains("`...` comes too early in SETEX"));
}

#[test]
fn sixteen_captures_fit_in_a_group_and_a_seventeenth_does_not() {
    let names = |count: usize| (0..count).map(|place| format!(" {{n{place}}}")).collect::<String>();
    assert_eq!(with_groups(vec![group(&["SET a *", &format!("DEL{}", names(16))])]), []);
    assert!(member_error(&format!("DEL{}", names(17))).contains("more than 16 capture names"));
}

#[test]
fn a_guarded_group_has_only_members_that_can_be_predicted() {
    let guarded = |members: &[&str]| WrittenGroup { atomic: Atomic::Guarded, ..group(members) };
    assert_eq!(with_groups(vec![guarded(&["SETEX a 5 *", "INCR b", "XADD s ..."])]), []);
    let (path, text) = only(with_groups(vec![guarded(&["SET a *", "SORT b ..."])]));
    assert_eq!(path, "group[0].commands[1]");
    assert!(text.contains("SORT cannot be in a guarded group"), "{text}");
}

/// The error of a guarded group whose second member requires this.
fn require_error(template: &str, require: &str, of: WrittenGroup) -> (String, String) {
    let mut written = WrittenGroup { atomic: Atomic::Guarded, ..of };
    let member = WrittenMember { template: template.into(), require: Some(require.into()), ..WrittenMember::default() };
    written.commands.as_mut().expect("members").push(member);
    only(with_groups(vec![written]))
}

#[test]
fn what_a_member_requires_must_be_something_that_can_be_asked() {
    let one = || group(&["SET a:{x} *"]);
    let good = |require: &str| {
        let mut written = WrittenGroup { atomic: Atomic::Guarded, ..one() };
        let member = WrittenMember { template: "DEL b:{y}".into(), require: Some(require.into()), ..WrittenMember::default() };
        written.commands.as_mut().expect("members").push(member);
        with_groups(vec![written])
    };
    for require in ["exists", "absent", "ttl > 0", "ttl > 30s", "= {x}{y}", "type set"] {
        assert_eq!(good(require), [], "{require}");
    }
    let (path, text) = require_error("DEL b", "exits", one());
    assert!(path == "group[0].commands[1].require" && text.contains("says nothing about a key"), "{path} {text}");
    assert!(require_error("DEL b", "= {z}", one()).1.contains("no member captures `z`"));
    assert!(require_error("PUBLISH b *", "exists", one()).1.contains("the command has no key"));
    let unsupported = WrittenGroup { on_unsupported: OnUnsupported::Transaction, ..one() };
    assert!(require_error("DEL b", "exists", unsupported).1.contains("without its preflight"));
    let mut optional = group(&["SET c *", "GET a:{x}"]);
    optional.commands.as_mut().expect("members")[1].optional = true;
    assert!(require_error("DEL b", "= {x}", optional).1.contains("captured by an optional member alone"));
}

#[test]
fn only_a_guarded_group_asks_what_is_required() {
    let member = WrittenMember { template: "DEL b".into(), require: Some("exists".into()), ..WrittenMember::default() };
    for atomic in [Atomic::Transaction, Atomic::Observe] {
        let commands = Some(vec![member.clone(), member.clone()]);
        let errors = with_groups(vec![WrittenGroup { name: "g".into(), atomic, commands, ..WrittenGroup::default() }]);
        assert!(errors.len() == 2 && errors[0].message.contains("does not ask"), "{errors:?}");
    }
}

#[test]
fn a_group_that_is_applied_once_says_which_are_the_same() {
    let base = || WrittenGroup { atomic: Atomic::Guarded, ..group(&["SET a:{x} *", "SET b {y}", "GET c:{z}"]) };
    let once = |key: &str| WrittenGroup { once: Some("10m".into()), once_key: Some(key.into()), ..base() };
    let optional = |key| {
        let mut written = once(key);
        written.commands.as_mut().expect("members")[2].optional = true;
        written
    };
    for key in ["{x}", "{x}:{y}", "{z}", "digest"] {
        assert_eq!(with_groups(vec![once(key)]), [], "{key}");
    }
    for (written, at, said) in [
        (WrittenGroup { once_key: None, ..once("") }, "once_key", "which groups are the same"),
        (WrittenGroup { once: None, ..once("{x}") }, "once_key", "says something of groups with once"),
        (WrittenGroup { on_duplicate: OnDuplicate::Replay, ..base() }, "on_duplicate", "says something of groups with once"),
        (WrittenGroup { once: Some("soon".into()), ..once("{x}") }, "once", "is no duration"),
        (WrittenGroup { atomic: Atomic::Transaction, ..once("{x}") }, "once", "does not ask"),
        (WrittenGroup { on_unsupported: OnUnsupported::Transaction, ..once("{x}") }, "on_unsupported", "applied again"),
        (once("{w}"), "once_key", "no member captures `w`"),
        (once("x"), "once_key", "has no capture"),
        (optional("{z}"), "once_key", "captured by an optional member alone"),
    ] {
        let (path, text) = only(with_groups(vec![written]));
        assert!(path == format!("group[0].{at}") && text.contains(said), "{path}: {text}");
    }
    let keys = |key: &str| WrittenGroup { commands: None, keys: Some(vec!["a:*".into()]), ..once(key) };
    assert_eq!(with_groups(vec![keys("digest")]), []);
    assert!(only(with_groups(vec![keys("{x}")])).1.contains("no member captures"));
}

#[test]
fn what_to_do_without_a_preflight_is_a_question_for_guarded_groups_only() {
    let on_unsupported = OnUnsupported::Transaction;
    let written = WrittenGroup { on_unsupported, ..group(&["SET a *", "SET b *"]) };
    assert_eq!(only(with_groups(vec![written])).0, "group[0].on_unsupported");
    let atomic = Atomic::Guarded;
    assert_eq!(with_groups(vec![WrittenGroup { on_unsupported, atomic, ..group(&["SET a *", "SET b *"]) }]), []);
}

#[test]
fn a_guard_prefix_is_plain() {
    for (prefix, good) in
        [("g", true), ("app:guard:", true), ("", false), ("a{b", false), ("a b", false), (&"x".repeat(65), false)]
    {
        let pipeline = WrittenPipeline { guard_prefix: prefix.to_owned(), ..WrittenPipeline::default() };
        let compiled = compile(&Written { pipeline, ..Written::default() }, &Table::builtin());
        assert_eq!(compiled.is_ok(), good, "{prefix}");
    }
}

#[test]
fn a_group_that_is_rolled_back_has_only_members_that_can_be_undone() {
    let rolled = |members: &[&str]| WrittenGroup { atomic: Atomic::Rollback, ..group(members) };
    assert_eq!(with_groups(vec![rolled(&["EVAL * 1 a", "SORT l STORE m", "XADD s ..."])]), []);
    for (member, why) in [("PUBLISH c *", "cannot be taken back"), ("FLUSHALL", "whole databases"), ("MOVE k 1", "elsewhere")] {
        let (path, text) = only(with_groups(vec![rolled(&["SET a *", member])]));
        assert!(path == "group[0].commands[1]" && text.contains("cannot be rolled back") && text.contains(why), "{path}: {text}");
    }
    let limit = |atomic| WrittenGroup { atomic, rollback_bytes_max: Some(5), ..group(&["SET a *", "SET b *"]) };
    assert_eq!(with_groups(vec![limit(Atomic::Rollback)]), []);
    assert_eq!(only(with_groups(vec![limit(Atomic::Guarded)])).0, "group[0].rollback_bytes_max");
}

#[test]
fn what_is_only_observed_has_no_marker() {
    let written = |atomic| WrittenGroup { resolve: true, atomic, ..group(&["SET a *", "SET b *"]) };
    assert_eq!(with_groups(vec![written(Atomic::Transaction)]), []);
    assert_eq!(with_groups(vec![written(Atomic::Guarded)]), []);
    let (path, text) = only(with_groups(vec![written(Atomic::Observe)]));
    assert!(path == "group[0].resolve" && text.contains("resolve needs a transaction"), "{path} {text}");
}

fn guard(written: WrittenGuard) -> Vec<RuleError> {
    let written = WrittenGuard { name: "g".into(), ..written };
    compile(&Written { guards: vec![written], ..Written::default() }, &Table::builtin()).err().unwrap_or_default()
}

#[test]
fn a_guard_says_what_must_not_pass() {
    let commands = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
    let about = |list: &[&str]| WrittenGuard { commands: commands(list), ..WrittenGuard::default() };
    assert_eq!(guard(about(&["KEYS *", "FLUSHALL ...", "BLPOP ...", "CONFIG SET ...", "SUBSCRIBE ..."])), []);
    assert!(only(guard(WrittenGuard::default())).1.contains("lets everything pass"));
    assert_eq!(only(guard(about(&[]))).0, "guard[0].commands");
    assert!(only(guard(about(&["KEYS *", "EXEC"]))).1.contains("EXEC cannot be guarded"));
    assert!(only(guard(about(&["KEEYS *"]))).1.contains("perhaps KEYS"));
    let reply = WrittenGuard { reply_bytes_max: Some(1), ..WrittenGuard::default() };
    assert_eq!(guard(reply.clone()), []);
    assert_eq!(only(guard(WrittenGuard { action: GuardAction::Reject, ..reply })).0, "guard[0].action");
    let keys = WrittenGuard { keys_allowed: commands(&["a:{x}"]), ..WrittenGuard::default() };
    assert_eq!(only(guard(keys)).0, "guard[0].keys_allowed[0]");
}

#[test]
fn an_expectation_is_of_one_command_with_a_reply() {
    let errors = |command: &str, reply: &str| {
        let written =
            WrittenExpect { name: "e".into(), command: command.into(), reply: reply.into(), ..WrittenExpect::default() };
        compile(&Written { expects: vec![written], ..Written::default() }, &Table::builtin()).err().unwrap_or_default()
    };
    assert_eq!(errors("DEL a:{x}", ">= 1"), []);
    assert_eq!(errors("BLPOP ...", "!nil"), []);
    assert_eq!(only(errors("DEL a", "=> 1")).0, "expect[0].reply");
    assert!(only(errors("SUBSCRIBE a", "OK")).1.contains("has no reply that can be expected"));
    let member = WrittenMember { template: "SET a *".into(), expected: Some("?? ?".into()), ..WrittenMember::default() };
    let commands = Some(vec![member.clone(), member]);
    assert_eq!(with_groups(vec![WrittenGroup { name: "g".into(), commands, ..WrittenGroup::default() }]).len(), 2);
}

#[test]
fn what_fixes_a_ttl_knows_which() {
    let fix = WrittenTtl { action: TtlAction::Fix, ..ttl(&["a"]) };
    assert_eq!(only(with_ttl(fix.clone())).0, "ttl[0].action");
    assert_eq!(with_ttl(WrittenTtl { default: Some("1d".into()), ..fix }), []);
}

#[test]
fn a_group_has_either_commands_or_keys() {
    let keys = Some(vec!["a:*".to_owned()]);
    let both = WrittenGroup { keys: keys.clone(), ..group(&["SET a *", "SET b *"]) };
    assert_eq!(only(with_groups(vec![both])).0, "group[0].keys");
    let neither = WrittenGroup { name: "g".into(), ..WrittenGroup::default() };
    assert_eq!(only(with_groups(vec![neither.clone()])).0, "group[0]");
    assert_eq!(with_groups(vec![WrittenGroup { keys, ..neither }]), []);
}

#[test]
fn a_group_has_at_least_two_members_and_one_that_must_come() {
    assert_eq!(only(with_groups(vec![group(&[])])).0, "group[0].commands");
    assert_eq!(only(with_groups(vec![group(&["SET a *"])])).0, "group[0].commands");
    assert_eq!(with_groups(vec![group(&["SET a *", "SET b *"])]), []);
    let mut optional = group(&["SET a *", "SET b *"]);
    for member in optional.commands.iter_mut().flatten() {
        member.optional = true;
    }
    assert!(only(with_groups(vec![optional])).1.contains("every member is optional"));
}

#[test]
fn sixty_four_members_and_eight_optional_ones_fit_and_no_more() {
    let of = |count: usize, optional: usize| {
        let mut group = group(&vec!["SET a *"; count]);
        group.commands.iter_mut().flatten().take(optional).for_each(|member| member.optional = true);
        with_groups(vec![group]).len()
    };
    assert_eq!([of(64, 8), of(65, 0), of(20, 9)], [0, 1, 1]);
}

#[test]
fn sixteen_members_may_come_in_any_order_and_no_more() {
    let of = |count: usize| with_groups(vec![WrittenGroup { order: Order::Any, ..group(&vec!["SET a *"; count]) }]);
    assert_eq!(of(16), []);
    let (path, text) = only(of(17));
    assert_eq!(path, "group[0].commands");
    assert!(text.contains("17 members, which may come in any order (expected at most 16)"), "{text}");
    let keys = WrittenGroup { name: "g".into(), keys: Some(vec!["a:*".into()]), ..WrittenGroup::default() };
    assert_eq!(only(with_groups(vec![WrittenGroup { order: Order::Any, ..keys }])).0, "group[0].order");
}

#[test]
fn names_are_plain_short_and_unique() {
    let named = |name: &str| WrittenGroup { name: name.into(), ..group(&["SET a *", "SET b *"]) };
    let long = "a".repeat(64);
    for name in ["a", "0", "refresh-token_2", &long] {
        assert_eq!(with_groups(vec![named(name)]), [], "{name}");
    }
    for name in ["", "-a", "_a", "A", "a b", "a.b", "ä", &format!("{long}a")] {
        assert_eq!(only(with_groups(vec![named(name)])).0, "group[0].name", "{name}");
    }
    assert_eq!(only(with_groups(vec![named("a"), named("b"), named("a")])).0, "group[2].name");
}

#[test]
fn a_ttl_rule_says_which_keys_and_how_long() {
    let full = WrittenTtl { default: Some("7d".into()), max: Some("30d".into()), ..ttl(&["a:*"]) };
    let written = Written { ttls: vec![full.clone()], ..Written::default() };
    let policy = compile(&written, &Table::builtin()).unwrap();
    let (place, rule) = policy.ttl_rule_for(b"a:1").unwrap();
    assert_eq!((place, rule.max, rule.grace), (0, Some(Duration::from_secs(30 * 86_400)), Duration::from_secs(1)));
    assert_eq!(rule.pattern_of(b"a:1"), Some("a:*"));
    assert!(policy.ttl_rule_for(b"b:1").is_none());
    assert_eq!(only(with_ttl(WrittenTtl { max: Some("6d".into()), ..full.clone() })).0, "ttl[0].default");
    assert_eq!(with_ttl(WrittenTtl { max: Some("7d".into()), ..full.clone() }), []);
    assert_eq!(only(with_ttl(WrittenTtl { max: Some("a week".into()), ..full })).0, "ttl[0].max");
    assert_eq!(only(with_ttl(ttl(&[]))).0, "ttl[0].keys");
    assert_eq!(only(with_ttl(ttl(&["a", ""]))).0, "ttl[0].keys[1]");
    assert_eq!(only(with_ttl(ttl(&["a:{b}"]))).0, "ttl[0].keys[0]");
}

#[test]
fn a_hold_is_no_longer_than_its_longest() {
    let hold = |hold_ms, hold_max_ms| {
        let pipeline = WrittenPipeline { hold_ms, hold_max_ms, ..WrittenPipeline::default() };
        compile(&Written { pipeline, ..Written::default() }, &Table::builtin()).is_ok()
    };
    assert!(hold(0, 0) && hold(20, 20) && hold(0, 10_000));
    assert!(!hold(21, 20) && !hold(1, 0) && !hold(0, 10_001));
}

#[test]
fn all_errors_are_reported_together() {
    let errors = with_groups(vec![group(&["SETXE a", "GET {", "BLPOP a 0"]), group(&[])]);
    let paths: Vec<&str> = errors.iter().map(|error| &*error.path).collect();
    let members = ["group[0].commands[0]", "group[0].commands[1]", "group[0].commands[2]"];
    assert_eq!(paths, ["group[1].name", members[0], members[1], members[2], "group[1].commands"]);
}

#[test]
fn observing_wins_over_enforcing() {
    let compiled = |mode| compile(&Written { mode, ..Written::default() }, &Table::builtin()).unwrap();
    assert_eq!(compiled(Mode::Enforce).mode_of(None), Mode::Enforce);
    assert_eq!(compiled(Mode::Enforce).mode_of(Some(Mode::Observe)), Mode::Observe);
    assert_eq!(compiled(Mode::Observe).mode_of(Some(Mode::Enforce)), Mode::Observe);
}

#[test]
fn a_required_value_is_of_keys_that_are_not_compressed() {
    let requiring = |template: &str, require: &str| {
        let member = |template: &str, require: Option<&str>| WrittenMember {
            template: template.to_owned(),
            require: require.map(str::to_owned),
            ..WrittenMember::default()
        };
        let commands = Some(vec![member("SET other:{id} *", None), member(template, Some(require))]);
        let group = WrittenGroup { name: "g".into(), commands, atomic: Atomic::Guarded, ..WrittenGroup::default() };
        let compress = WrittenCompress { name: "pages".into(), keys: vec!["page:*".into()], ..WrittenCompress::default() };
        let written = Written { groups: vec![group], compresses: vec![compress], ..Written::default() };
        compile(&written, &Table::builtin()).err().unwrap_or_default()
    };
    for template in ["SET page:{id} *", "DEL page:{id}", "SET {kind}:{id} *"] {
        let (path, text) = only(requiring(template, "= new"));
        assert_eq!(path, "group[0].commands[1].require", "{template}");
        assert!(text.contains("compress rule pages"), "{text}");
    }
    assert!(requiring("SET page:{id} *", "exists").is_empty());
    assert!(requiring("SET token:{id} *", "= new").is_empty());
}
