//! Random pipelines, each request with what its reply must be.

use fastrand::Rng;

use crate::client::Session;
use crate::ledger::Ledger;
use crate::wire::{Reply, request};

/// What the reply to a request must be, unless something went wrong on the way.
#[derive(Debug, Clone)]
pub enum Want {
    Exactly(Reply),
    /// The name that the client has given itself, unless that went wrong.
    Name(Reply),
    Integer,
    Write {
        key: Option<String>,
        tag: String,
    },
    Read {
        key: String,
    },
    /// Several that may be on several nodes.
    ReadAll {
        keys: Vec<String>,
    },
    Deleted {
        keys: Vec<String>,
    },
    /// An error with this token, and nothing is applied.
    Refused(&'static str),
    Popped {
        list: String,
    },
    Any,
    Queued {
        key: Option<String>,
        tag: Option<String>,
    },
    /// EXEC, for the commands right before it.
    Exec {
        members: usize,
    },
    Group {
        rule: &'static str,
        tag: String,
        place: usize,
        atomic: bool,
        torn: bool,
        /// Which time it is that the same group is sent, from 0.
        time: u32,
    },
}

/// The rules that groups are made for, the guarded ones last.
const RULES: [&str; 9] = ["login", "strict", "settled", "run", "guarded", "proven", "single", "undone", "sure"];
const GUARDED: usize = 5;

/// What the first key of a rule's groups begins with.
fn prefix(rule: &str) -> &'static str {
    match rule {
        "login" => "rt",
        "strict" => "st",
        "settled" => "se",
        "guarded" => "gu",
        "proven" => "pr",
        "single" => "si",
        "undone" => "un",
        _ => "su",
    }
}

/// Whether what its client sends behind a group of the rule waits for it.
fn is_fenced(rule: &str) -> bool {
    matches!(rule, "settled" | "proven" | "sure")
}

/// Whether a group of the rule is applied once, however often it is sent.
pub fn is_once(rule: &str) -> bool {
    matches!(rule, "single" | "sure")
}

/// Whether a group of the rule shares its transaction with nothing else: what it is between the members of goes as it came.
fn is_alone(rule: &str) -> bool {
    matches!(rule, "undone" | "sure")
}

/// Requests that are sent before any reply is read.
pub struct Pipeline {
    session: u64,
    /// Before a cluster: what goes together has one hash tag.
    is_cluster: bool,
    rules: &'static [&'static str],
    pub bytes: Vec<u8>,
    pub wants: Vec<Want>,
    /// It is sent in one go.
    pub at_once: bool,
    /// Requests that wait for what goes before them.
    pub turns: usize,
    /// Groups that what stands behind them waits for.
    pub fences: usize,
    pub is_large: bool,
    /// Whose logins it has: `EXPIRE` names no token, so that one of two logins of a user may take that of the other.
    logins: Vec<String>,
}

impl Pipeline {
    pub fn new(session: &Session, at_once: bool) -> Pipeline {
        let rules = if session.has_guarded { &RULES[..] } else { &RULES[..RULES.len() - GUARDED] };
        Pipeline {
            session: session.number,
            is_cluster: session.is_cluster,
            rules,
            bytes: Vec::new(),
            wants: Vec::new(),
            at_once,
            turns: 0,
            fences: 0,
            is_large: false,
            logins: Vec::new(),
        }
    }

    pub fn push(&mut self, words: &[&str], want: Want) {
        self.bytes.extend(request(words));
        self.wants.push(want);
    }

    /// Adds something at random.
    pub fn add(&mut self, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        match rng.u32(0..100) {
            0..12 if self.is_cluster => self.add_spread(rng, ledger, client),
            0..40 => self.add_plain(rng, ledger, client),
            40..65 => self.add_group(rng, ledger),
            65..75 => self.add_apart(rng, ledger, client),
            75..85 => {
                self.push(&["MULTI"], Want::Any);
                self.add_queued(rng, ledger, client);
                let members = self.wants.iter().rev().take_while(|want| matches!(want, Want::Queued { .. })).count();
                self.push(&["EXEC"], Want::Exec { members });
                // Where its end comes later, it needs a connection of its own.
                self.turns += if self.at_once { 0 } else { 2 };
            }
            85..93 => self.add_queue(rng, ledger, client),
            93..97 => {
                self.push(&["CLIENT", "SETNAME", "somebody"], Want::Exactly(Reply::Simple("OK".into())));
                self.push(&["CLIENT", "GETNAME"], Want::Name(Reply::bulk("somebody")));
                // The server is asked before either is answered.
                self.turns += 2;
            }
            _ => self.add_large(ledger, client),
        }
    }

    /// Adds a write, a group of each rule, a transaction and a read.
    pub fn add_one_of_each(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let tag = ledger.tag(self.session, 1, false);
        self.push(&["SET", "own:0:0", &tag], Want::Write { key: Some("own:0:0".to_owned()), tag: tag.clone() });
        self.rules.iter().for_each(|rule| self.add_group_of(rule, rng, ledger));
        self.push(&["MULTI"], Want::Any);
        let first = self.wants.len();
        self.add_queued(rng, ledger, 0);
        let members = self.wants.len() - first;
        self.push(&["EXEC"], Want::Exec { members });
        self.push(&["GET", "own:0:0"], Want::Read { key: "own:0:0".to_owned() });
    }

    fn add_plain(&mut self, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        for _ in 0..rng.u32(1..=5) {
            let key = format!("own:{client}:{}", rng.u32(0..3));
            match rng.u32(0..6) {
                0..=1 => {
                    let tag = ledger.tag(self.session, 1, false);
                    self.push(&["SET", &key, &tag], Want::Write { key: Some(key.clone()), tag: tag.clone() });
                }
                2..=3 => self.push(&["GET", &key], Want::Read { key: key.clone() }),
                4 => {
                    let tag = ledger.tag(self.session, 0, false);
                    self.push(&["ECHO", &tag], Want::Exactly(Reply::bulk(&tag)));
                }
                _ => {
                    let tag = ledger.tag(self.session, 0, false);
                    self.push(&["PUBLISH", &format!("ch{}", rng.u32(0..2)), &tag], Want::Integer);
                }
            }
        }
        if rng.u32(0..8) == 0 {
            self.bytes.extend_from_slice(b"PING\r\n");
            self.wants.push(Want::Exactly(Reply::Simple("PONG".into())));
        }
    }

    /// Requests whose keys are on several nodes.
    fn add_spread(&mut self, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        let keys: Vec<String> = (0..3).map(|at| format!("own:{client}:{at}")).collect();
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.fences += 1;
        match rng.u32(0..5) {
            0..=1 => self.push(&["MGET", names[0], names[1], names[2]], Want::ReadAll { keys: keys.clone() }),
            2 => self.push(&["EXISTS", names[0], names[1], names[2]], Want::Integer),
            3 => self.push(&["DEL", names[0], names[1]], Want::Deleted { keys: keys[..2].to_vec() }),
            _ => {
                let tag = ledger.tag(self.session, 0, false);
                self.push(&["MSET", names[0], &tag, names[1], &tag], Want::Refused("CROSSSLOT"));
            }
        }
    }

    /// A user, as keys name him.
    fn user(&self, name: &str) -> String {
        if self.is_cluster { format!("{{{name}}}") } else { name.to_owned() }
    }

    /// A key that many write; before a cluster beside this one of the client's own.
    pub fn shared(&self, number: u32, own: &str) -> String {
        if self.is_cluster { format!("shared{number}:{{{own}}}") } else { format!("shared{number}") }
    }

    /// A whole group of one of the rules.
    fn add_group(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        self.add_group_of(rng.choice(self.rules.iter()).expect("a rule"), rng, ledger);
    }

    fn add_group_of(&mut self, rule: &'static str, rng: &mut Rng, ledger: &mut Ledger) {
        let torn = rng.u32(0..6) == 0;
        let user = self.user(&if torn { "bad".to_owned() } else { format!("u{}", rng.u32(0..4)) });
        let atomic = self.at_once;
        let (sess, tag) = (format!("sess:{user}"), ledger.tag(self.session, 2, atomic));
        // An optional member may come from behind other commands, which ride then.
        self.fences += usize::from(is_fenced(rule) || rule == "login");
        // Some send it again before they know what has become of it.
        let times = if is_once(rule) && atomic { rng.u32(1..=3) } else { 1 };
        self.fences += (times as usize - 1) * usize::from(is_fenced(rule));
        let mut words: Vec<Vec<&str>> = Vec::new();
        let (first, second) = match rule {
            "run" => {
                let set = if torn { "blob:bad".to_owned() } else { format!("blob:set{}", rng.u32(0..3)) };
                (if self.is_cluster { format!("blob:{{{set}}}:{tag}") } else { format!("blob:{tag}") }, set)
            }
            _ => (format!("{}:{user}:{tag}", prefix(rule)), sess),
        };
        words.push(if rule == "login" { vec!["SETEX", &first, "600", &tag] } else { vec!["SET", &first, &tag] });
        words.push(vec!["SADD", &second, &tag]);
        if rule == "login" {
            if rng.bool() && !self.logins.contains(&user) {
                words.push(vec!["EXPIRE", &second, "600"]);
            }
            self.logins.push(user);
        }
        for time in 0..times {
            for (place, words) in words.iter().enumerate() {
                self.push(words, Want::Group { rule, tag: tag.clone(), place, atomic, torn, time });
            }
        }
        if rule == "run" {
            // What stands between two runs, so that they are two.
            self.push(&["ECHO", "between"], Want::Exactly(Reply::bulk("between")));
        }
    }

    /// Groups of several callers, each with its members in their order and with others' commands between them.
    fn add_apart(&mut self, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        let rules: Vec<_> = self.rules.iter().copied().filter(|rule| *rule != "run").collect();
        let mut begun: Vec<(&'static str, String, String, bool, bool)> = Vec::new();
        for _ in 0..rng.u32(2..=4) {
            let rule = rng.choice(rules.iter().copied()).expect("a rule");
            let torn = rng.u32(0..6) == 0;
            // What stands behind a transaction in which others ride waits for it, and what rode in one that was refused goes again.
            self.fences += 2;
            let user = self.user(&if torn { "bad".to_owned() } else { format!("u{}", rng.u32(0..4)) });
            // Others may go past it: it has no order among what its session sends. Of two that are applied once, one goes as it came.
            let atomic = self.at_once && !is_alone(rule) && !is_once(rule);
            let tag = ledger.tag(rng.u64(1 << 40..), 2, atomic);
            let first = format!("{}:{user}:{tag}", prefix(rule));
            let words = if rule == "login" { vec!["SETEX", &first, "600", &tag] } else { vec!["SET", &first, &tag] };
            let want = Want::Group { rule, tag: tag.clone(), place: 0, atomic, torn, time: 0 };
            self.push(&words, want);
            if rule == "login" {
                self.logins.push(user.clone());
            }
            begun.push((rule, user, tag, torn, atomic));
            if rng.bool() {
                let (key, tag) = (format!("own:{client}:{}", rng.u32(0..3)), ledger.tag(self.session, 1, false));
                self.push(&["ECHO", "between"], Want::Exactly(Reply::bulk("between")));
                self.push(&["SET", &key, &tag], Want::Write { key: Some(key.clone()), tag: tag.clone() });
                self.push(&["GET", &key], Want::Read { key: key.clone() });
            }
            while !begun.is_empty() && rng.u32(0..3) == 0 {
                self.end_apart(&mut begun, rng);
            }
        }
        while !begun.is_empty() {
            self.end_apart(&mut begun, rng);
        }
    }

    fn end_apart(&mut self, begun: &mut Vec<(&'static str, String, String, bool, bool)>, rng: &mut Rng) {
        let (rule, user, tag, torn, atomic) = begun.swap_remove(rng.usize(..begun.len()));
        let want = Want::Group { rule, tag: tag.clone(), place: 1, atomic, torn, time: 0 };
        self.push(&["SADD", &format!("sess:{user}"), &tag], want);
    }

    /// What is queued in a transaction; before a cluster on one key of the client's own, and what is beside it.
    pub fn add_queued(&mut self, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        let one = if self.is_cluster { Some(rng.u32(0..3)) } else { None };
        self.add_queued_on(one, rng, ledger, client);
    }

    pub fn add_queued_on(&mut self, one: Option<u32>, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        let mut key = String::new();
        for _ in 0..rng.u32(1..=3) {
            key = format!("own:{client}:{}", one.unwrap_or_else(|| rng.u32(0..3)));
            let tag = ledger.tag(self.session, 1, false);
            self.push(&["SET", &key, &tag], Want::Queued { key: Some(key.clone()), tag: Some(tag.clone()) });
        }
        let tag = ledger.tag(self.session, 1, false);
        let shared = self.shared(rng.u32(0..2), &key);
        self.push(&["SET", &shared, &tag], Want::Queued { key: None, tag: Some(tag.clone()) });
    }

    /// A queue of the client's own: what it puts in must not be overtaken by its asking for it.
    fn add_queue(&mut self, rng: &mut Rng, ledger: &mut Ledger, client: u64) {
        let list = format!("queue:{client}");
        if rng.u32(0..4) > 0 {
            let tag = ledger.tag(self.session, 1, false);
            self.push(&["RPUSH", &list, &tag], Want::Write { key: None, tag: tag.clone() });
        }
        self.push(&["BLPOP", &list, "0.05"], Want::Popped { list: list.clone() });
        self.turns += 2;
    }

    /// A request that is cut through.
    fn add_large(&mut self, ledger: &mut Ledger, client: u64) {
        let key = format!("large:{client}");
        let tag = ledger.tag(self.session, 1, false);
        let value = format!("{tag}{}", "x".repeat(70_000));
        self.push(&["SET", &key, &value], Want::Write { key: Some(key.clone()), tag: tag.clone() });
        self.push(&["GET", &key], Want::Read { key: key.clone() });
        self.turns += 2;
        self.is_large = true;
    }
}
