//! Merges the replies of several nodes into one.

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
    /// INFO of a node, as that of a server without a cluster.
    Info,
    /// HELLO's answer, likewise.
    Hello,
}

impl Merge {
    /// The reply, from those of all nodes. `random` chooses where it does not matter. An error of one is that of all, but
    /// where one success is enough.
    pub fn merge(self, replies: &[&[u8]], random: usize) -> Vec<u8> {
        let error = replies.iter().find(|reply| value::is_error(reply));
        if self == Merge::OneSucceeds {
            let success = replies.iter().find(|reply| !value::is_error(reply));
            return success.or(error).copied().unwrap_or_default().to_vec();
        }
        if let Some(error) = error {
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
            Merge::Info => info(first, &mut out),
            Merge::Hello => hello(first, &mut out),
        }
        out
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

/// Some clients ask it whether they are before a cluster.
fn info(reply: &[u8], out: &mut Vec<u8>) {
    let Some(text) = value::bulk(reply) else { return out.extend_from_slice(reply) };
    let text = replace(text, b"redis_mode:cluster", b"redis_mode:standalone");
    let text = replace(&text, b"server_mode:cluster", b"server_mode:standalone");
    let text = replace(&text, b"cluster_enabled:1", b"cluster_enabled:0");
    if reply.first() == Some(&b'=') {
        out.extend_from_slice(format!("={}\r\ntxt:", text.len() + 4).as_bytes());
        out.extend_from_slice(&text);
        out.extend_from_slice(b"\r\n");
    } else {
        encode::bulk(out, &text);
    }
}

fn hello(reply: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&replace(reply, b"$4\r\nmode\r\n$7\r\ncluster\r\n", b"$4\r\nmode\r\n$10\r\nstandalone\r\n"));
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

    #[test]
    fn a_node_is_shown_as_a_server_without_a_cluster() {
        let text = "redis_mode:cluster\r\ncluster_enabled:1\r\n";
        let shown = "redis_mode:standalone\r\ncluster_enabled:0\r\n";
        let frame = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        assert_eq!(merged(Merge::Info, &[&frame(text)]), frame(shown));
        assert_eq!(merged(Merge::Hello, &["*2\r\n$4\r\nmode\r\n$7\r\ncluster\r\n"]), "*2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n");
    }
}
