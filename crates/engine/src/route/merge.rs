//! Merges the replies of several nodes into one.

use super::info;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// How (<https://redis.io/docs/latest/develop/reference/command-tips/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// `agg_sum`
    Sum,
    /// `agg_logical_and`, element by element
    And,
    /// `agg_logical_or`, likewise
    Or,
    /// `agg_min`, element by element where they are arrays
    Min,
    /// `agg_max`, likewise
    Max,
    /// All elements where they are arrays, else what the first one says: what is done without a policy
    Append,
    /// `all_succeeded`: what the first one says
    AllSucceed,
    /// `one_succeeded`
    OneSucceeds,
    /// All elements.
    Concat,
    /// All elements, each once.
    Union,
    /// Numbers behind names, each name once.
    SumPairs,
    /// One of those that are no null.
    AnyKey,
    /// FUNCTION STATS: the function that has run for the longest time, and the greatest of each number.
    FunctionStats,
    /// INFO of all, as that of one server without a cluster. Nodes may be missing.
    Info,
    /// HELLO's answer, likewise.
    Hello,
}

impl Merge {
    /// The reply, from those of all nodes. `random` chooses where it does not matter. An error of one is that of all, but
    /// where some may have one ([`Merge::takes_errors`]).
    pub fn merge(self, replies: &[&[u8]], random: usize) -> Vec<u8> {
        let error = replies.iter().find(|reply| value::is_error(reply));
        if self == Merge::OneSucceeds {
            let success = replies.iter().find(|reply| !value::is_error(reply));
            return success.or(error).copied().unwrap_or_default().to_vec();
        }
        if let Some(running) = longest_running(replies).filter(|_| self == Merge::FunctionStats) {
            return function_stats(running, replies);
        }
        if let Some(error) = error.filter(|_| self != Merge::Info) {
            return error.to_vec();
        }
        let first = replies.first().copied().unwrap_or_default();
        let mut out = Vec::new();
        match self {
            Merge::Sum => encode::integer(&mut out, replies.iter().filter_map(|reply| value::integer(reply)).sum()),
            Merge::And => by_element(replies, &mut out, |all| i64::from(all.iter().all(|number| *number != 0))),
            Merge::Or => by_element(replies, &mut out, |all| i64::from(all.iter().any(|number| *number != 0))),
            Merge::Min => by_element(replies, &mut out, |all| all.iter().copied().min().unwrap_or(0)),
            Merge::Max => by_element(replies, &mut out, |all| all.iter().copied().max().unwrap_or(0)),
            Merge::Append if replies.iter().all(|reply| reply.first() == Some(&b'*')) => {
                concat(replies.iter().flat_map(|reply| elements(reply)), &mut out);
            }
            Merge::Append => out.extend_from_slice(first),
            Merge::AllSucceed | Merge::OneSucceeds => out.extend_from_slice(first),
            Merge::Concat => concat(replies.iter().flat_map(|reply| elements(reply)), &mut out),
            Merge::Union => {
                let mut all: Vec<&[u8]> = replies.iter().flat_map(|reply| elements(reply)).collect();
                all.sort_unstable();
                all.dedup();
                concat(all.into_iter(), &mut out);
            }
            Merge::SumPairs => sum_pairs(replies, &mut out),
            Merge::AnyKey => {
                let keys: Vec<_> = replies.iter().filter(|reply| !value::is_null(reply)).collect();
                out.extend_from_slice(if keys.is_empty() { first } else { keys[random % keys.len()] });
            }
            Merge::Info => info::merge(replies, random, 0, &mut out),
            Merge::Hello => hello(first, &mut out),
            Merge::FunctionStats => return function_stats(first, replies),
        }
        out
    }

    /// The errors of some nodes may stand beside what others answer. A node that runs a script says so to FUNCTION STATS with
    /// an error, and that means nothing for a function that another one runs.
    pub fn takes_errors(self) -> bool {
        matches!(self, Merge::OneSucceeds | Merge::FunctionStats | Merge::Info)
    }
}

/// One number from those of all nodes, or an array of such.
fn by_element(replies: &[&[u8]], out: &mut Vec<u8>, merge: impl Fn(&[i64]) -> i64) {
    let numbers: Option<Vec<i64>> = replies.iter().map(|reply| value::integer(reply)).collect();
    if let Some(numbers) = numbers {
        return encode::integer(out, merge(&numbers));
    }
    let all: Vec<Vec<i64>> = replies.iter().map(|reply| elements(reply).filter_map(value::integer).collect()).collect();
    let count = all.iter().map(Vec::len).min().unwrap_or(0);
    encode::array_header(out, count);
    (0..count).for_each(|at| encode::integer(out, merge(&all.iter().map(|one| one[at]).collect::<Vec<_>>())));
}

fn concat<'a>(all: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let all: Vec<_> = all.collect();
    encode::array_header(out, all.len());
    all.iter().for_each(|element| out.extend_from_slice(element));
}

fn sum_pairs(replies: &[&[u8]], out: &mut Vec<u8>) {
    let mut sums: Vec<(&[u8], i64)> = Vec::new();
    for (nth, reply) in replies.iter().enumerate() {
        let mut parts = elements(reply);
        let mut at = 0;
        while let (Some(name), Some(number)) = (parts.next(), parts.next()) {
            let number = value::integer(number).unwrap_or(0);
            match sums.get_mut(at).filter(|_| nth > 0) {
                Some(sum) => sum.1 += number,
                None => sums.push((name, number)),
            }
            at += 1;
        }
    }
    encode::array_header(out, sums.len() * 2);
    for (name, sum) in sums {
        out.extend_from_slice(name);
        encode::integer(out, sum);
    }
}

fn hello(reply: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&replace(reply, b"$4\r\nmode\r\n$7\r\ncluster\r\n", b"$4\r\nmode\r\n$10\r\nstandalone\r\n"));
}

/// Of the answers to FUNCTION STATS that tell of a running function that of the one that has run for the longest time.
fn longest_running<'a>(replies: &[&'a [u8]]) -> Option<&'a [u8]> {
    let running = |reply: &'a [u8]| Some((field(field(reply, b"running_script")?, b"duration_ms")?, reply));
    let running = replies.iter().filter(|reply| !value::is_error(reply)).filter_map(|reply| running(reply));
    running.max_by_key(|(duration, _)| value::integer(duration)).map(|(_, reply)| reply)
}

/// This answer, with the numbers of all.
fn function_stats(shown: &[u8], replies: &[&[u8]]) -> Vec<u8> {
    let mut out = header(shown).to_vec();
    for (name, told) in fields(shown) {
        out.extend_from_slice(name);
        match value::bulk(name) {
            Some(b"engines") => {
                greatest(told, &replies.iter().filter_map(|reply| field(reply, b"engines")).collect::<Vec<_>>(), &mut out)
            }
            _ => out.extend_from_slice(told),
        }
    }
    out
}

/// As the first, with the greatest of the numbers that all have of the same name.
fn greatest(first: &[u8], all: &[&[u8]], out: &mut Vec<u8>) {
    if let Some(number) = all.iter().filter_map(|told| value::integer(told)).max() {
        return encode::integer(out, number);
    }
    out.extend_from_slice(header(first));
    for (name, told) in fields(first) {
        out.extend_from_slice(name);
        let named = value::bulk(name).unwrap_or_default();
        greatest(told, &all.iter().filter_map(|one| field(one, named)).collect::<Vec<_>>(), out);
    }
}

/// What stands before the elements; all of a frame that has none.
fn header(frame: &[u8]) -> &[u8] {
    &frame[..frame.len() - elements(frame).map(<[u8]>::len).sum::<usize>()]
}

/// The names of a map with their values: in RESP2 it is an array.
fn fields(map: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut parts = elements(map);
    std::iter::from_fn(move || parts.next().zip(parts.next()))
}

fn field<'a>(map: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    fields(map).find(|(known, _)| value::bulk(known) == Some(name)).map(|(_, told)| told)
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match text.windows(from.len()).position(|window| window == from) {
        Some(at) => [&text[..at], to, &text[at + from.len()..]].concat(),
        None => text.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(merge: Merge, replies: &[&str]) -> String {
        let replies: Vec<_> = replies.iter().map(|reply| reply.as_bytes()).collect();
        String::from_utf8(merge.merge(&replies, 1)).expect("text")
    }

    #[test]
    fn replies_of_several_nodes_become_one() {
        assert_eq!(merged(Merge::Sum, &[":1\r\n", ":2\r\n", ":0\r\n"]), ":3\r\n");
        assert_eq!(merged(Merge::And, &["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n"]), "*2\r\n:1\r\n:0\r\n");
        assert_eq!(merged(Merge::Or, &[":0\r\n", ":1\r\n"]), ":1\r\n");
        assert_eq!(merged(Merge::Min, &[":2\r\n", ":1\r\n"]), ":1\r\n");
        assert_eq!(merged(Merge::Min, &["*2\r\n:1\r\n:2\r\n", "*2\r\n:0\r\n:3\r\n"]), "*2\r\n:0\r\n:2\r\n");
        assert_eq!(merged(Merge::Max, &[":2\r\n", ":1\r\n"]), ":2\r\n");
        assert_eq!(merged(Merge::Append, &["*1\r\n:1\r\n", "*1\r\n:2\r\n"]), "*2\r\n:1\r\n:2\r\n");
        assert_eq!(merged(Merge::Append, &["+a\r\n", "+b\r\n"]), "+a\r\n");
        assert_eq!(merged(Merge::AllSucceed, &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(merged(Merge::Concat, &["*1\r\n:1\r\n", "*0\r\n", "*1\r\n:1\r\n"]), "*2\r\n:1\r\n:1\r\n");
        assert_eq!(merged(Merge::Union, &["*1\r\n:1\r\n", "*1\r\n:1\r\n"]), "*1\r\n:1\r\n");
        assert_eq!(merged(Merge::SumPairs, &["*2\r\n+a\r\n:1\r\n", "*2\r\n+a\r\n:2\r\n"]), "*2\r\n+a\r\n:3\r\n");
        assert_eq!(merged(Merge::AnyKey, &["$-1\r\n", "$1\r\nk\r\n"]), "$1\r\nk\r\n");
        assert_eq!(merged(Merge::AnyKey, &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
    }

    #[test]
    fn the_error_of_one_is_that_of_all_unless_one_success_is_enough() {
        assert_eq!(merged(Merge::Sum, &[":1\r\n", "-NOPERM no\r\n"]), "-NOPERM no\r\n");
        let busy = "-NOTBUSY No scripts in execution right now.\r\n";
        assert_eq!(merged(Merge::OneSucceeds, &[busy, "+OK\r\n"]), "+OK\r\n");
        assert_eq!(merged(Merge::OneSucceeds, &[busy, busy]), busy);
    }

    /// The answer to FUNCTION STATS of a node on which a function has run for so long.
    fn stats(running: Option<u64>, libraries: u64, functions: u64) -> String {
        let running = running.map_or("*-1\r\n".to_owned(), |duration| {
            format!("*6\r\n$4\r\nname\r\n$1\r\nf\r\n$7\r\ncommand\r\n*1\r\n$1\r\nx\r\n$11\r\nduration_ms\r\n:{duration}\r\n")
        });
        format!(
            "*4\r\n$14\r\nrunning_script\r\n{running}$7\r\nengines\r\n*2\r\n$3\r\nLUA\r\n\
             *4\r\n$15\r\nlibraries_count\r\n:{libraries}\r\n$15\r\nfunctions_count\r\n:{functions}\r\n"
        )
    }

    #[test]
    fn of_all_nodes_functions_the_one_that_has_run_longest_is_told() {
        let of = |replies: &[&str]| merged(Merge::FunctionStats, replies);
        let idle = stats(None, 1, 2);
        assert_eq!(of(&[&idle, &idle]), idle);
        assert_eq!(of(&[&stats(None, 1, 3), &stats(None, 2, 2)]), stats(None, 2, 3));
        assert_eq!(of(&[&idle, &stats(Some(7), 1, 1), &stats(Some(90), 1, 1)]), stats(Some(90), 1, 2));
        let busy = "-BUSY Redis is busy running a script.\r\n";
        assert_eq!(of(&[&idle, busy]), busy);
        assert_eq!(of(&[busy, &stats(Some(7), 1, 1), &idle]), stats(Some(7), 1, 2));
        let resp3 = stats(None, 1, 2).replace("*4", "%2").replace("*2", "%1").replace("*-1", "_");
        let more = stats(None, 3, 1).replace("*4", "%2").replace("*2", "%1").replace("*-1", "_");
        assert_eq!(of(&[&resp3, &more]), resp3.replace(":1", ":3"));
    }

    #[test]
    fn a_node_is_shown_as_a_server_without_a_cluster() {
        assert_eq!(merged(Merge::Hello, &["*2\r\n$4\r\nmode\r\n$7\r\ncluster\r\n"]), "*2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n");
    }
}
