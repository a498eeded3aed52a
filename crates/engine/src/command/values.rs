//! Where requests and replies contain values of strings and hashes, and which commands look into values.

use respguard_resp::request::Args;

/// How a reply carries values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyShape {
    /// It is one.
    One,
    /// Each of its elements is one.
    Each,
    /// Every second element is one.
    Pairs,
    /// Every second element of its second one, behind a cursor.
    Cursor,
    /// As pairs, each of which may be an array of its own.
    Random,
}

/// What a command does with the values of its keys, where they are strings or hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueUse {
    /// It writes them whole, or gives them back whole.
    Whole,
    /// It may look into them.
    Sees,
    /// A script may.
    Script,
}

/// `None` for commands that have nothing to do with such values, or move them as they are.
pub fn value_use(name: &str) -> Option<ValueUse> {
    Some(match name {
        "set" | "setnx" | "getset" | "setex" | "psetex" | "mset" | "msetnx" | "msetex" | "hset" | "hmset" | "hsetnx"
        | "hsetex" => ValueUse::Whole,
        "get" | "getex" | "getdel" | "hget" | "mget" | "hmget" | "hvals" | "hgetex" | "hgetdel" | "hgetall" | "hscan"
        | "hrandfield" => ValueUse::Whole,
        "getrange" | "substr" | "setrange" | "append" | "strlen" | "hstrlen" | "lcs" | "stralgo" | "digest" | "delex" => {
            ValueUse::Sees
        }
        "setbit" | "getbit" | "bitcount" | "bitpos" | "bitfield" | "bitfield_ro" | "bitop" => ValueUse::Sees,
        "pfadd" | "pfcount" | "pfmerge" | "sort" | "sort_ro" => ValueUse::Sees,
        "eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro" => ValueUse::Script,
        _ => return None,
    })
}

/// Whether this request looks into the values of its keys.
pub fn looks_into(name: &str, args: Args<'_>) -> bool {
    let has = |from: usize, words: &[&[u8]]| {
        args.from(from).iter().any(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    match name {
        "set" => has(3, &[b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"]),
        "delex" => args.len() > 2,
        // What it sorts are items and members; what it gets may be anything.
        "sort" | "sort_ro" => false,
        _ => value_use(name) == Some(ValueUse::Sees),
    }
}

/// The patterns of keys that SORT reads beside its own (<https://redis.io/docs/latest/commands/sort/>).
pub fn sorted_by<'a>(name: &str, args: Args<'a>, visit: &mut dyn FnMut(&'a [u8])) {
    if !matches!(name, "sort" | "sort_ro") {
        return;
    }
    for place in 2..args.len() {
        let is_option = args.get(place).is_some_and(|word| word.eq_ignore_ascii_case(b"GET") || word.eq_ignore_ascii_case(b"BY"));
        if is_option && let Some(pattern) = args.get(place + 1) {
            visit(pattern);
        }
    }
}

/// The places of the values that a request writes whole, each with that of its key.
pub fn for_each_value(name: &str, args: Args<'_>, visit: &mut dyn FnMut(usize, usize)) {
    let count = args.len();
    let number = |place: usize| {
        let text = args.get(place).and_then(|word| std::str::from_utf8(word).ok());
        text.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0)
    };
    match name {
        "set" | "setnx" | "getset" if count >= 3 => visit(1, 2),
        "setex" | "psetex" | "hsetnx" if count >= 4 => visit(1, 3),
        "mset" | "msetnx" if count % 2 == 1 => (1..count).step_by(2).for_each(|key| visit(key, key + 1)),
        "msetex" => {
            let keys = number(1).min(count.saturating_sub(2) / 2);
            (0..keys).for_each(|pair| visit(2 + 2 * pair, 3 + 2 * pair));
        }
        "hset" | "hmset" if count >= 4 && count.is_multiple_of(2) => (3..count).step_by(2).for_each(|value| visit(1, value)),
        "hsetex" => {
            let Some(fields) = (2..count).find(|place| args.get(*place).is_some_and(|word| word.eq_ignore_ascii_case(b"FIELDS")))
            else {
                return;
            };
            let pairs = number(fields + 1).min(count.saturating_sub(fields + 2) / 2);
            (0..pairs).for_each(|pair| visit(1, fields + 3 + 2 * pair));
        }
        _ => {}
    }
}

/// How the request's reply carries values; `None` where it carries none.
pub fn reply_shape(name: &str, args: Args<'_>) -> Option<ReplyShape> {
    let has = |from: usize, wanted: &[u8]| args.from(from).iter().any(|word| word.eq_ignore_ascii_case(wanted));
    match name {
        "get" | "getex" | "getdel" | "getset" | "hget" => Some(ReplyShape::One),
        "set" if has(3, b"GET") => Some(ReplyShape::One),
        "mget" | "hmget" | "hvals" | "hgetex" | "hgetdel" => Some(ReplyShape::Each),
        "hgetall" => Some(ReplyShape::Pairs),
        "hscan" if !has(3, b"NOVALUES") => Some(ReplyShape::Cursor),
        "hrandfield" if has(3, b"WITHVALUES") => Some(ReplyShape::Random),
        _ => None,
    }
}
