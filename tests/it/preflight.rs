//! Random groups on keys of random types: a guarded group is applied whole or not at all.
//!
//! `RESPGUARD_GROUPS` says how many groups are tried (3000 else), `RESPGUARD_SEED` from which seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use respguard_engine::command::Table;
use respguard_engine::preflight::is_decidable;

use crate::harness::wire::words;
use crate::harness::{Proxy, Wire, text};

const GROUPS: u64 = 3000;
/// Groups that are enough to find torn ones without a preflight.
const GROUPS_UNGUARDED: u64 = 600;
/// The test ends then even if fewer groups were tried.
const TIME_MAX: Duration = Duration::from_secs(20);
pub(super) const KEYS: u64 = 7;
/// Needless refusals among all groups, in percent.
const NEEDLESS_MAX: f64 = 1.0;

/// Every write command that can be predicted, at least once. Placeholders: K key, V value, N integer, D float, T time,
/// M member, G consumer group, X a new stream id, Y one
/// that may be there.
const WRITES: &[&str] = &[
    "APPEND K V",
    "BITFIELD K SET u8 N N",
    "BITFIELD K INCRBY i5 N 1 OVERFLOW FAIL GET u4 0",
    "BITOP AND K K K",
    "BITOP NOT K K",
    "COPY K K",
    "COPY K K REPLACE",
    "DECR K",
    "DECRBY K N",
    "DEL K",
    "DEL K K",
    "EXPIRE K T",
    "EXPIRE K T NX",
    "EXPIRE K T GT",
    "EXPIREAT K 9999999999",
    "EXPIREAT K 1",
    "GEOADD K D D M",
    "GEOADD K XX 1 2 M",
    "GETDEL K",
    "GETEX K",
    "GETEX K EX T",
    "GETSET K V",
    "HDEL K M",
    "HDEL K M M",
    "HINCRBY K M N",
    "HINCRBYFLOAT K M D",
    "HMSET K M V",
    "HSET K M V",
    "HSET K M V M V",
    "HSET K M",
    "HSETNX K M V",
    "INCR K",
    "INCRBY K N",
    "INCRBYFLOAT K D",
    "LINSERT K BEFORE M V",
    "LMOVE K K LEFT RIGHT",
    "LMPOP 2 K K LEFT",
    "LMPOP 1 K RIGHT COUNT N",
    "LPOP K",
    "LPOP K N",
    "LPUSH K M",
    "LPUSH K M M",
    "LPUSHX K M",
    "LREM K N M",
    "LSET K N V",
    "LTRIM K N N",
    "MSET K V K V",
    "MSETNX K V K V",
    "PERSIST K",
    "PEXPIRE K 100000",
    "PEXPIREAT K 9999999999999",
    "PFADD K M",
    "PFADD K",
    "PFMERGE K K",
    "PSETEX K 100000 V",
    "RENAME K K",
    "RENAMENX K K",
    "RPOP K",
    "RPOPLPUSH K K",
    "RPUSH K M",
    "RPUSHX K M",
    "SADD K M",
    "SADD K 1 M",
    "SDIFFSTORE K K K",
    "SET K V",
    "SET K N",
    "SET K V NX",
    "SET K N XX",
    "SET K V GET",
    "SET K V EX T",
    "SET K V KEEPTTL",
    "SET K V NX XX",
    "SETBIT K N 1",
    "SETBIT K 7 N",
    "SETEX K T V",
    "SETNX K N",
    "SETRANGE K N V",
    "SINTERSTORE K K K",
    "SMOVE K K M",
    "SPOP K",
    "SPOP K N",
    "SREM K M",
    "SUNIONSTORE K K K",
    "UNLINK K",
    "XACK K G Y",
    "XADD K * f v",
    "XADD K X f v",
    "XADD K X f",
    "XADD K NOMKSTREAM X f v",
    "XADD K MAXLEN ~ N LIMIT 5 * f v",
    "XADD K 7-* f v",
    "XAUTOCLAIM K G c 0 0",
    "XCLAIM K G c 0 5-1",
    "XDEL K 5-1",
    "XDEL K Y",
    "XGROUP CREATE K G 0",
    "XGROUP CREATE K G $ MKSTREAM",
    "XGROUP CREATECONSUMER K G c",
    "XGROUP DELCONSUMER K G c",
    "XGROUP DESTROY K G",
    "XGROUP SETID K G 0",
    "XREADGROUP GROUP G c STREAMS K >",
    "XREADGROUP GROUP G c COUNT 1 NOACK STREAMS K K > 0",
    "XTRIM K MAXLEN N",
    "XTRIM K MINID Y",
    "ZADD K D M",
    "ZADD K NX D M",
    "ZADD K XX CH D M",
    "ZADD K INCR D M",
    "ZADD K GT LT D M",
    "ZADD K D M D M",
    "ZADD K D",
    "ZDIFFSTORE K 2 K K",
    "ZINCRBY K D M",
    "ZINTERSTORE K 2 K K WEIGHTS D D",
    "ZMPOP 1 K MIN",
    "ZMPOP 2 K K MAX COUNT N",
    "ZPOPMAX K",
    "ZPOPMIN K N",
    "ZRANGESTORE K K 0 -1",
    "ZRANGESTORE K K D D BYSCORE LIMIT N N",
    "ZREM K M",
    "ZREMRANGEBYLEX K - +",
    "ZREMRANGEBYLEX K a +",
    "ZREMRANGEBYRANK K N N",
    "ZREMRANGEBYSCORE K D (5",
    "ZUNIONSTORE K 2 K K AGGREGATE MAX",
    "ZUNIONSTORE K 2 K K WEIGHTS D 1",
];

/// Some that read: they can fail too.
const READS: &[&str] = &[
    "GET K",
    "STRLEN K",
    "GETRANGE K N N",
    "GETBIT K N",
    "BITCOUNT K",
    "BITPOS K 1 N",
    "MGET K K",
    "HGET K M",
    "HGETALL K",
    "HRANDFIELD K N WITHVALUES",
    "LRANGE K N N",
    "LINDEX K N",
    "LPOS K M RANK N",
    "SMEMBERS K",
    "SINTER K K",
    "SINTERCARD 2 K K LIMIT N",
    "SRANDMEMBER K N",
    "ZRANGE K N N",
    "ZRANGE K D D BYSCORE",
    "ZRANGEBYLEX K [a (z",
    "ZSCORE K M",
    "ZCOUNT K D +inf",
    "ZUNION 2 K K WITHSCORES",
    "GEOPOS K M",
    "GEODIST K M M km",
    "XLEN K",
    "XRANGE K - + COUNT N",
    "XREAD STREAMS K 0",
    "XPENDING K G",
    "XINFO GROUPS K",
    "TYPE K",
    "EXISTS K",
    "TTL K",
    "PFCOUNT K K",
    "OBJECT ENCODING K",
    "SSCAN K 0 COUNT N",
    "EXPIRETIME K",
];

/// What a key may be before a group.
pub(super) const BEFORE: &[&str] = &[
    "DEL K",
    "DEL K",
    "SET K abc",
    "SET K 5",
    "SET K 5",
    "SET K 9223372036854775807",
    "SET K -9223372036854775808",
    "SET K 1.5",
    "SET K 007",
    "SET K 5 EX 1000",
    "RPUSH K a",
    "RPUSH K a b c",
    "SADD K a b",
    "SADD K 1 2 3",
    "HSET K a 1 b x",
    "HSET K a 1.5 b 9223372036854775807",
    "ZADD K 1 a 2 b",
    "ZADD K inf a -inf b",
    "XADD K 5-1 f v",
    "XADD K 9999999999999-1 f v",
    "PFADD K a b c",
    "GEOADD K 13 38 a",
    "SETBIT K 5 1",
    "XGROUP CREATE K g 0 MKSTREAM",
    "XGROUP CREATE K h $ MKSTREAM",
];

/// Which key is at home in a family of commands, by how their names begin.
const HOMES: &[(&str, u64)] = &[
    ("L", 2),
    ("R", 2),
    ("RENAME", 1),
    ("S", 3),
    ("SET ", 0),
    ("SETEX", 0),
    ("SETNX", 0),
    ("SETRANGE", 1),
    ("SETBIT", 1),
    ("SET K N", 0),
    ("STRLEN", 1),
    ("H", 4),
    ("Z", 5),
    ("GEO", 5),
    ("X", 6),
    ("INCR", 0),
    ("DECR", 0),
    ("GET", 1),
    ("APPEND", 1),
    ("BIT", 1),
    ("MSET", 1),
    ("PSETEX", 0),
];

/// Makes requests of templates, at random.
pub(super) struct Generator {
    pub(super) rng: Rng,
}

impl Generator {
    pub(super) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(..from.len())]
    }

    /// Mostly what is right.
    fn value(&mut self, right: &[&'static str], odd: &[&'static str]) -> &'static str {
        if self.rng.u8(..) < 5 { self.pick(odd) } else { self.pick(right) }
    }

    /// Mostly the key at home in the command's family, so that not every group meets a wrong type.
    fn key(&mut self, template: &str) -> String {
        let at_home = HOMES.iter().filter(|(begin, _)| template.starts_with(begin)).max_by_key(|(begin, _)| begin.len());
        match at_home {
            Some((_, home)) if self.rng.u8(..) < 235 => format!("f:{home}"),
            _ => format!("f:{}", self.rng.u64(..KEYS)),
        }
    }

    pub(super) fn line(&mut self, template: &str) -> Vec<Vec<u8>> {
        let filled = template.split(' ').map(|word| match word {
            "K" => self.key(template),
            "V" => self.value(&["5", "abc", "12", "x"], &["1.5", "", "9223372036854775807", "HYLL", "0x1"]).to_owned(),
            "N" => self
                .value(
                    &["0", "1", "2", "5", "-1"],
                    &["x", "1.5", "", "9223372036854775807", "-9223372036854775808", "4294967296"],
                )
                .to_owned(),
            "D" => self.value(&["1", "2.5", "-3", "0"], &["x", "inf", "-inf", "nan", "1e5", "0x10", "200"]).to_owned(),
            "T" => self.value(&["100", "1000"], &["0", "-1", "x", "9223372036854775807"]).to_owned(),
            "M" => self.pick(&["a", "b", "c"]).to_owned(),
            "G" => self.value(&["g", "g", "h"], &["other"]).to_owned(),
            "Y" => self.value(&["6-1", "7-7", "5-1", "5"], &["*", "x"]).to_owned(),
            "X" => self.value(&["*", "6-1", "7-7", "10-1"], &["0-0", "x", "5", "5-1"]).to_owned(),
            word => word.to_owned(),
        });
        filled.map(String::into_bytes).collect()
    }

    /// A group of two to five commands, about few keys.
    pub(super) fn group(&mut self) -> Vec<Vec<Vec<u8>>> {
        let count = self.rng.usize(2..=5);
        let template = |own: &mut Self| if own.rng.u8(..) < 40 { own.pick(READS) } else { own.pick(WRITES) };
        (0..count).map(|_| template(self)).collect::<Vec<_>>().into_iter().map(|template| self.line(template)).collect()
    }
}

pub(super) fn bytes(lines: &[Vec<Vec<u8>>]) -> Vec<u8> {
    lines.iter().flat_map(|line| words(&line.iter().map(Vec::as_slice).collect::<Vec<_>>())).collect()
}

pub(super) fn shown(lines: &[Vec<Vec<u8>>]) -> String {
    lines.iter().map(|line| line.iter().map(|word| text(word)).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("; ")
}

/// Everything that the keys hold, and how long.
fn state(redis: &mut Wire) -> Vec<Vec<u8>> {
    let questions: Vec<Vec<Vec<u8>>> = (0..KEYS)
        .flat_map(|key| ["DUMP", "PEXPIRETIME"].map(|name| vec![name.as_bytes().to_vec(), format!("f:{key}").into_bytes()]))
        .collect();
    redis.send(&bytes(&questions));
    redis.replies(questions.len())
}

/// What became of the groups.
#[derive(Default, Debug)]
struct Tried {
    groups: u64,
    applied: u64,
    refused: u64,
    needless: u64,
    torn: u64,
    /// Of the refused ones, those whose culprit answered other words than Redis does.
    other_words: BTreeMap<String, u64>,
    examples: Vec<String>,
    needless_by: BTreeMap<String, u64>,
}

fn is_error(reply: &[u8]) -> bool {
    reply.starts_with(b"-")
}

/// Tries random groups through a proxy whose group has this level.
fn run(level: &str, groups: u64, seed: u64) -> Tried {
    let (redis, proxy) = Proxy::with_redis(&format!("[[group]]\nname = \"f\"\nkeys = [\"f:*\"]\natomic = \"{level}\"\n"));
    let (mut client, mut direct) = (proxy.wire(), redis.wire());
    let mut generator = Generator { rng: Rng::with_seed(seed) };
    let (mut tried, begun) = (Tried::default(), Instant::now());
    while tried.groups < groups && (begun.elapsed() < TIME_MAX || groups > GROUPS) {
        tried.groups += 1;
        for _ in 0..4 {
            let template = generator.pick(BEFORE);
            let line = generator.line(template);
            let own = vec![b"DEL".to_vec(), line[if template.starts_with("XGROUP") { 2 } else { 1 }].clone()];
            direct.send(&bytes(&[own, line]));
            direct.replies(2);
        }
        let group = generator.group();
        let before = state(&mut direct);
        client.send(&bytes(&group));
        let replies = client.replies(group.len());
        let failed = replies.iter().filter(|reply| is_error(reply)).count();
        if failed == 0 {
            tried.applied += 1;
            continue;
        }
        if failed < replies.len() || state(&mut direct) != before {
            tried.torn += 1;
            let answers: Vec<_> = replies.iter().map(|reply| text(reply)).collect();
            tried.examples.push(format!("{} => {answers:?}", shown(&group)));
            continue;
        }
        tried.refused += 1;
        // Nothing was applied, so the same can be tried without a preflight.
        let mut alone = bytes(&[vec![b"MULTI".to_vec()]]);
        alone.extend(bytes(&group));
        alone.extend(bytes(&[vec![b"EXEC".to_vec()]]));
        direct.send(&alone);
        let queued = direct.replies(group.len() + 1);
        let exec = direct.reply();
        let errors: Vec<Vec<u8>> =
            respguard_resp::scan::elements(&exec).filter(|reply| is_error(reply)).map(<[u8]>::to_vec).collect();
        let culprit = replies.iter().find(|reply| !reply.starts_with(b"-EXECABORT"));
        if queued.iter().any(|reply| is_error(reply)) {
            continue;
        }
        if errors.is_empty() {
            tried.needless += 1;
            let why = culprit.map_or_else(|| text(&replies[0]), |reply| text(reply));
            *tried
                .needless_by
                .entry(format!(
                    "{why} {}",
                    if std::env::var_os("RESPGUARD_GROUPS").is_some() { shown(&group) } else { String::new() }
                ))
                .or_default() += 1;
        } else if culprit.is_none_or(|culprit| !errors.contains(culprit)) {
            let words = culprit.map_or_else(String::new, |reply| text(reply));
            *tried.other_words.entry(format!("{words:?}, Redis {:?}", text(&errors[0]))).or_default() += 1;
        }
    }
    assert_eq!(proxy.metric("respguard_violations_total", &[("kind", "unguarded")]), 0.0);
    tried
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn a_guarded_group_is_applied_whole_or_not_at_all() {
    let seed = number("RESPGUARD_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let tried = run("guarded", number("RESPGUARD_GROUPS").unwrap_or(GROUPS), seed);
    println!("seed {seed}: {tried:#?}");
    assert_eq!(tried.torn, 0, "seed {seed}: {:#?}", tried.examples);
    let needless = 100.0 * tried.needless as f64 / tried.groups as f64;
    // A busy machine tries fewer, of which chance has a larger part.
    let most = NEEDLESS_MAX * (GROUPS as f64 / tried.groups as f64).sqrt().max(1.0);
    assert!(needless < most, "seed {seed}: {needless} % of {} were refused without need", tried.groups);
    assert!(tried.applied > tried.groups / 10 && tried.refused > tried.groups / 10, "both must be tried: {tried:?}");
}

#[test]
fn without_a_preflight_the_same_groups_tear() {
    let seed = number("RESPGUARD_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let tried = run("transaction", GROUPS_UNGUARDED, seed);
    assert!(tried.torn > 0, "seed {seed}: {tried:?}");
}

#[test]
fn every_write_that_can_be_predicted_is_tried() {
    let table = Table::builtin();
    let tried: Vec<String> = WRITES.iter().map(|line| line.to_lowercase()).collect();
    for (_, spec) in table.iter().filter(|(_, spec)| spec.is_write() && is_decidable(spec)) {
        let name = format!("{} ", spec.name().replace('|', " "));
        assert!(tried.iter().any(|line| line.starts_with(&name)), "{name} is never tried");
    }
}
