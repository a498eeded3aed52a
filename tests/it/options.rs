//! Each option of each command, said twice, left out, in another order, misspelled: what the preflight calls fine does
//! not fail on the server.
//!
//! Every ordered pair of a command's options is tried, with each of its words left out once, and so many requests more
//! that are changed at random. `RESPGUARD_SPELLINGS` says how many those are for each form (40 else), `RESPGUARD_SEED`
//! from which seed.

mod forms;

use std::collections::{BTreeMap, HashSet};

use fastrand::Rng;
use respguard_engine::command::{CommandId, KeyList, Table};
use respguard_engine::preflight::{Fault, Preflight, Verdict, examine, is_decidable};
use respguard_resp::encode;
use respguard_resp::request::{Args, Span};
use respguard_resp::scan::elements;
use respguard_resp::value;

use crate::harness::wire::{request, words};
use crate::harness::{RedisServer, Wire, text};
use forms::{FORMS, Form};

/// Requests changed at random for each form.
const RANDOM: u64 = 40;
/// Requests that are sent in one write.
const AT_ONCE: usize = 100;
/// Refusals without need among all requests, in percent: repeated options that Redis takes are most of them.
const NEEDLESS_MAX: f64 = 3.0;

/// What a changed word may become. No number among them that asks for so many answers.
const ODD: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "2",
    "01",
    "+1",
    " 1",
    "1.5",
    "1e2",
    "inf",
    "-inf",
    "nan",
    "x",
    "*",
    "$",
    ">",
    "-",
    "+",
    "(",
    "(1",
    "[a",
    "5-1",
    "5-*",
    "0-0",
    "~",
    "=",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551615-18446744073709551615",
    "#1",
    "u8",
    "i64",
    "k",
    "d",
    "nil",
    "LEFT",
    "COUNT",
    "LIMIT",
    "KM",
];

/// What the keys are made by.
fn content(kind: char) -> &'static [&'static str] {
    match kind {
        's' => &["MSET k 5 d 7"],
        'p' => &["PFADD k a b", "PFADD d c"],
        'l' => &["RPUSH k a b c", "RPUSH d x"],
        'e' => &["SADD k a b", "SADD d b c"],
        'h' => &["HSET k a 1 b 2"],
        'z' => &["GEOADD k 13 38 a 14 38 b", "ZADD d 1 a 2 c"],
        'x' => &[
            "XGROUP CREATE k g 0 MKSTREAM",
            "XGROUP CREATE d g 0 MKSTREAM",
            "XADD k 5-1 f v",
            "XREADGROUP GROUP g c STREAMS k >",
        ],
        other => panic!("no content of kind {other}"),
    }
}

type Request = Vec<String>;

fn split(text: &str) -> Request {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The requests of a form, each once.
struct Requests {
    all: Vec<Request>,
    seen: HashSet<Request>,
}

impl Requests {
    fn of(form: &Form, table: &Table, rng: &mut Rng, random: u64) -> Vec<Request> {
        let mut requests = Requests { all: Vec::new(), seen: HashSet::new() };
        let say =
            |options: &[&str]| [&[form.head][..], options, &[form.tail]].concat().iter().flat_map(|text| split(text)).collect();
        let name_words = usize::from(table.spec(lookup(table, &split(form.head))).name_words);
        let mut plain: Vec<Request> = vec![say(&[])];
        for one in form.options {
            plain.push(say(&[one]));
            plain.extend(form.options.iter().map(|other| say(&[one, other])));
        }
        for request in plain {
            for place in name_words..request.len() {
                let mut shorter = request.clone();
                shorter.remove(place);
                requests.add(shorter);
            }
            requests.add(request);
        }
        for _ in 0..random {
            let count = rng.usize(0..=4.min(form.options.len() + 1));
            let options: Vec<&str> = (0..count).map(|_| form.options[rng.usize(..form.options.len())]).collect();
            let mut request = say(&options);
            for _ in 0..rng.usize(0..=2) {
                change(&mut request, name_words, rng);
            }
            requests.add(request);
        }
        requests.all
    }

    fn add(&mut self, request: Request) {
        if self.seen.insert(request.clone()) {
            self.all.push(request);
        }
    }
}

/// Changes one word, or the order of two.
fn change(request: &mut Request, name_words: usize, rng: &mut Rng) {
    if request.len() <= name_words {
        return;
    }
    let (at, other) = (rng.usize(name_words..request.len()), rng.usize(name_words..request.len()));
    match rng.u8(..8) {
        0 => request[at].push('X'),
        1 => drop(request[at].pop()),
        2 => request[at] = request[at].to_lowercase(),
        3 => drop(request.remove(at)),
        4 => request.insert(at, request[at].clone()),
        5 => request.swap(at, other),
        6 => request.push(ODD[rng.usize(..ODD.len())].to_owned()),
        _ => request[at] = ODD[rng.usize(..ODD.len())].to_owned(),
    }
}

/// A request as the engine sees it.
struct Parsed {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Parsed {
    fn new(request: &Request) -> Parsed {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for word in request {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word.as_bytes());
            spans.push(Span { start, end: bytes.len() as u32 });
        }
        Parsed { bytes, spans }
    }

    fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

fn lookup(table: &Table, request: &Request) -> CommandId {
    table.lookup(Parsed::new(request).args())
}

/// What the analysis says of a group.
enum Opinion {
    Fine,
    Ask(Preflight),
    Refused(Fault),
}

fn opinion(table: &Table, group: &[Request]) -> Opinion {
    let parsed: Vec<Parsed> = group.iter().map(Parsed::new).collect();
    match examine(table, parsed.iter().map(|parsed| (table.lookup(parsed.args()), parsed.args()))) {
        Ok(checks) if checks.is_empty() => Opinion::Fine,
        Ok(checks) => Opinion::Ask(Preflight::new(&checks)),
        Err(refusal) => Opinion::Refused(refusal.fault),
    }
}

/// What was found.
#[derive(Default, Debug)]
struct Tried {
    groups: u64,
    /// Called fine, and failed.
    torn: Vec<String>,
    /// Refused, and fine on the server: how often, by command.
    needless: BTreeMap<String, u64>,
    /// Refused with other words than Redis has.
    other_words: BTreeMap<String, u64>,
    /// Went well, and has other keys than the server says.
    other_keys: Vec<String>,
}

impl Tried {
    /// Tries groups, most of them of one request, on keys that are made by `before`.
    fn run(&mut self, wire: &mut Wire, table: &Table, before: &[&str], groups: &[Vec<Request>]) {
        let opinions: Vec<Opinion> = groups.iter().map(|group| opinion(table, group)).collect();
        let mut out = Vec::new();
        for (group, opinion) in groups.iter().zip(&opinions) {
            out.extend(words(&[b"DEL", b"k", b"d", b"x", b"e"]));
            before.iter().for_each(|line| out.extend(request(line)));
            if let Opinion::Ask(preflight) = opinion {
                preflight.write(b"guard", &mut out);
                out.extend(words(&[b"UNWATCH"]));
            }
            for request in group {
                encode::request(&mut out, &request.iter().map(String::as_bytes).collect::<Vec<_>>());
            }
            let question = ["COMMAND", "GETKEYS"].into_iter().chain(group[0].iter().map(String::as_str));
            encode::request(&mut out, &question.map(str::as_bytes).collect::<Vec<_>>());
        }
        wire.send(&out);
        for (group, opinion) in groups.iter().zip(&opinions) {
            wire.replies(1 + before.len());
            let verdict = match opinion {
                Opinion::Ask(preflight) => {
                    let answers = wire.replies(3);
                    preflight.verdict(&answers[1])
                }
                _ => Verdict::Fine,
            };
            let replies: Vec<String> = wire.replies(group.len()).iter().map(|reply| text(reply)).collect();
            let error = replies.iter().find_map(|reply| reply.strip_prefix('-'));
            let keys = wire.reply();
            if error.is_none() && !keys_agree(table, &group[0], &keys) {
                self.other_keys.push(format!("{:?}: {}", group[0], text(&keys)));
            }
            self.note(group, opinion, &verdict, error.map(|error| error.trim_end_matches("\r\n")), before);
        }
    }

    fn note(&mut self, group: &[Request], opinion: &Opinion, verdict: &Verdict, failed: Option<&str>, before: &[&str]) {
        self.groups += 1;
        let refused = match (opinion, verdict) {
            (Opinion::Refused(Fault::Certain(error)), _) => Some(Some(error.to_string())),
            (Opinion::Refused(Fault::Undecided(_)), _) => Some(None),
            (_, Verdict::Fine) => None,
            (_, Verdict::Fails { error, .. }) => Some(Some(error.to_string())),
            (_, verdict) => panic!("{group:?}: the preflight answers {verdict:?}"),
        };
        let shown = || format!("{group:?}{}", if before.is_empty() { "" } else { " on what is there" });
        let name = || group[0][0].to_uppercase();
        match (refused, failed) {
            (None, Some(error)) => self.torn.push(format!("{}: {error}", shown())),
            (Some(_), None) => {
                let verbose = std::env::var_os("RESPGUARD_SPELLINGS").is_some();
                *self.needless.entry(if verbose { shown() } else { name() }).or_default() += 1;
            }
            (Some(Some(words)), Some(error)) if words != error => {
                *self.other_words.entry(format!("{} {words:?}, Redis {error:?}", name())).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Whether the keys of a request that the server has taken are those that COMMAND GETKEYS says.
fn keys_agree(table: &Table, request: &Request, said: &[u8]) -> bool {
    let parsed = Parsed::new(request);
    let (mut own, spec) = (Vec::new(), table.spec(table.lookup(parsed.args())));
    let known = spec.for_each_key(parsed.args(), &mut |place, _| own.extend(request.get(place)));
    // A channel is no key, though it has a slot as keys do.
    if spec.name() == "spublish" {
        return true;
    }
    // It does not say those of a PFMERGE without sources.
    if said.starts_with(b"-") {
        return own.is_empty() || said.starts_with(b"-ERR Invalid arguments");
    }
    let said: Vec<String> = elements(said).map(|key| text(value::bulk(key).unwrap_or_default())).collect();
    known == KeyList::Complete && said.iter().eq(own)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn what_the_preflight_calls_fine_does_not_fail_on_the_server() {
    let (redis, table) = (RedisServer::start(&[]), Table::builtin());
    let seed = number("RESPGUARD_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let random = number("RESPGUARD_SPELLINGS").unwrap_or(RANDOM);
    let (mut rng, mut tried, mut wire) = (Rng::with_seed(seed), Tried::default(), redis.wire());
    for form in FORMS {
        let requests = Requests::of(form, &table, &mut rng, random);
        let groups: Vec<Vec<Request>> = requests.into_iter().map(|request| vec![request]).collect();
        for some in groups.chunks(AT_ONCE) {
            tried.run(&mut wire, &table, &[], some);
            tried.run(&mut wire, &table, content(form.kind), some);
        }
    }
    println!("seed {seed}: {tried:#?}");
    assert!(tried.torn.is_empty(), "seed {seed}: {} of {}: {:#?}", tried.torn.len(), tried.groups, tried.torn);
    assert!(tried.other_keys.is_empty(), "seed {seed}: {:#?}", tried.other_keys);
    let needless = 100.0 * tried.needless.values().sum::<u64>() as f64 / tried.groups as f64;
    assert!(needless < NEEDLESS_MAX, "seed {seed}: {needless} % were refused without need: {:#?}", tried.needless);
}

/// Ids that a stream may be told to give, near the end of what it can among them.
const IDS: &[&str] = &[
    "*",
    "5-1",
    "5-*",
    "6-18446744073709551615",
    "6-*",
    "18446744073709551615-*",
    "18446744073709551615-18446744073709551614",
    "18446744073709551615-18446744073709551615",
];

#[test]
fn no_id_that_a_stream_cannot_give_any_more_is_called_fine() {
    let (redis, table) = (RedisServer::start(&[]), Table::builtin());
    let (mut tried, mut wire) = (Tried::default(), redis.wire());
    let add = |id: &&str| split(&format!("XADD k {id} f v"));
    let pairs: Vec<Vec<Request>> = IDS.iter().flat_map(|one| IDS.iter().map(move |other| vec![add(one), add(other)])).collect();
    let behind = |pair: &Vec<Request>| IDS.iter().map(|id| [&pair[..], &[add(id)]].concat()).collect::<Vec<_>>();
    let triples = pairs.iter().flat_map(behind);
    let groups: Vec<Vec<Request>> = pairs.iter().cloned().chain(triples).collect();
    for before in [&[][..], &["XADD k 5-1 f v"], &["XADD k 4-1 f v", "DEL k"]] {
        groups.chunks(AT_ONCE).for_each(|some| tried.run(&mut wire, &table, before, some));
    }
    assert!(tried.torn.is_empty(), "{} of {}: {:#?}", tried.torn.len(), tried.groups, tried.torn);
    println!("{tried:#?}");
}

#[test]
fn every_command_that_can_be_predicted_has_a_form() {
    let table = Table::builtin();
    let tried: HashSet<CommandId> =
        FORMS.iter().map(|form| lookup(&table, &split(&format!("{} {}", form.head, form.tail)))).collect();
    for (id, spec) in table.iter().filter(|(_, spec)| is_decidable(spec)) {
        assert!(tried.contains(&id), "{} is never tried", spec.name());
    }
}
