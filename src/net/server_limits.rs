//! The server's limits on one connection, as far as it reports them; shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use respguard_resp::scan::elements;
use respguard_resp::value;

/// The parameters that they are read from (<https://redis.io/docs/latest/commands/config-get/>).
pub const PARAMETERS: [&[u8]; 4] =
    [b"proto-max-bulk-len", b"client-query-buffer-limit", b"client-output-buffer-limit", b"maxmemory-clients"];

/// No server closes a connection over a shorter request: it takes at least 1 MiB, of which others may stand before it in
/// its buffer (<https://github.com/redis/redis/blob/7.0/redis.conf>).
const REQUEST_BYTES_MIN: usize = 512 * 1024;
/// A reply from this size on is large, whatever the server says.
const LARGE_REPLY_BYTES: usize = 1024 * 1024;
/// No smaller one is: such replies come whole.
const LARGE_REPLY_BYTES_MIN: usize = 64 * 1024;
/// So many replies that are just not large must not exceed the limit on output.
const REPLIES_WITHIN_LIMIT: usize = 16;

/// What is known of them. Nothing before the server was asked, or where it does not tell.
#[derive(Debug)]
pub struct ServerLimits {
    request: AtomicUsize,
    output: AtomicUsize,
    evicts: AtomicBool,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            request: AtomicUsize::new(REQUEST_BYTES_MIN),
            output: AtomicUsize::new(usize::MAX),
            evicts: AtomicBool::new(false),
        }
    }
}

impl ServerLimits {
    /// A longer request may be more than the server takes: it goes over a connection of its client's own.
    pub fn shared_request_bytes(&self) -> usize {
        self.request.load(Ordering::Relaxed)
    }

    /// For a client whose reply has so many bytes the next ones come over a connection of its own.
    pub fn large_reply_bytes(&self) -> usize {
        let share = self.output.load(Ordering::Relaxed) / REPLIES_WITHIN_LIMIT;
        share.clamp(LARGE_REPLY_BYTES_MIN, LARGE_REPLY_BYTES)
    }

    /// So many replies may be owed on a connection that clients share: none of them large, they do not exceed the limit on
    /// output together. Beside what waits to be read there is room for one that nobody expected.
    pub fn replies_owed(&self) -> usize {
        match self.output.load(Ordering::Relaxed) {
            usize::MAX => usize::MAX,
            output => (output / 2 / self.large_reply_bytes()).max(1),
        }
    }

    /// What the limit on the output of one connection is; `None` when there is none, or it is not known.
    pub fn output_bytes(&self) -> Option<usize> {
        Some(self.output.load(Ordering::Relaxed)).filter(|bytes| *bytes < usize::MAX)
    }

    /// True when the server ends the largest connections where all together use too much memory
    /// (<https://redis.io/docs/latest/develop/reference/clients/#client-eviction>).
    pub fn evicts(&self) -> bool {
        self.evicts.load(Ordering::Relaxed)
    }

    /// Takes over what the server answers about [`PARAMETERS`], one by one; an error tells nothing.
    pub fn learn(&self, answers: &[impl AsRef<[u8]>]) {
        let values: Vec<_> = answers.iter().map(|answer| parameter(answer.as_ref())).collect();
        let bytes = |at: usize| values.get(at)?.as_deref()?.parse::<usize>().ok();
        let request = bytes(0).zip(bytes(1)).map(|(bulk, buffer)| bulk.min(buffer) / 2);
        self.request.store(request.unwrap_or(REQUEST_BYTES_MIN).max(REQUEST_BYTES_MIN), Ordering::Relaxed);
        let output = values.get(2).and_then(|value| output_limit(value.as_deref()?));
        self.output.store(output.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.evicts
            .store(values.get(3).is_some_and(|value| value.as_deref().is_some_and(|value| value != "0")), Ordering::Relaxed);
    }
}

/// The value in an answer to CONFIG GET.
fn parameter(answer: &[u8]) -> Option<String> {
    let value = elements(answer).nth(1)?;
    Some(String::from_utf8_lossy(value::bulk(value)?).into_owned())
}

/// The smaller of the two limits on clients, as in `normal 0 0 0 slave 268435456 67108864 60 pubsub ..`; 0 is none.
fn output_limit(text: &str) -> Option<usize> {
    let mut words = text.split(' ').skip_while(|word| *word != "normal").skip(1);
    let mut next = || words.next()?.parse::<usize>().ok();
    let (hard, soft) = (next()?, next()?);
    [hard, soft].into_iter().filter(|bytes| *bytes > 0).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bulk: &str, buffer: &str, output: &str) -> Vec<Vec<u8>> {
        let answer = |value: &str| format!("*2\r\n$1\r\nx\r\n${}\r\n{value}\r\n", value.len()).into_bytes();
        [bulk, buffer, output].map(answer).to_vec()
    }

    #[test]
    fn the_lower_limit_on_requests_counts_and_none_is_below_what_servers_take_at_least() {
        let limits = ServerLimits::default();
        assert_eq!(limits.shared_request_bytes(), REQUEST_BYTES_MIN, "nothing is known");
        limits.learn(&answers("536870912", "8388608", "normal 0 0 0"));
        assert_eq!(limits.shared_request_bytes(), 4_194_304);
        limits.learn(&answers("1048576", "1073741824", "normal 0 0 0"));
        assert_eq!(limits.shared_request_bytes(), REQUEST_BYTES_MIN);
        limits.learn(&[b"-NOPERM no\r\n"; 4]);
        assert_eq!((limits.shared_request_bytes(), limits.output_bytes()), (REQUEST_BYTES_MIN, None));
    }

    #[test]
    fn a_server_evicts_clients_where_it_has_a_limit_on_their_memory() {
        let (limits, mut answers) = (ServerLimits::default(), answers("536870912", "1073741824", "normal 0 0 0"));
        for (value, evicts) in [("0", false), ("1048576", true), ("10%", true)] {
            answers.truncate(3);
            answers.push(format!("*2\r\n$1\r\nx\r\n${}\r\n{value}\r\n", value.len()).into_bytes());
            limits.learn(&answers);
            assert_eq!(limits.evicts(), evicts, "{value}");
        }
    }

    #[test]
    fn replies_that_are_not_large_fill_half_of_the_limit_on_output() {
        let limits = ServerLimits::default();
        assert_eq!(limits.replies_owed(), usize::MAX, "nothing is known");
        let owed = |output: &str| {
            limits.learn(&answers("536870912", "1073741824", output));
            limits.replies_owed()
        };
        assert_eq!(owed("normal 0 0 0"), usize::MAX);
        assert_eq!(owed("normal 1048576 0 0"), 8);
        assert_eq!(owed("normal 8388608 0 0"), 8);
        assert_eq!(owed("normal 268435456 0 0"), 128);
        assert_eq!(owed("normal 1000 0 0"), 1);
    }

    #[test]
    fn replies_are_large_the_sooner_the_lower_the_limit_on_output_is() {
        let limits = ServerLimits::default();
        let large = |output: &str| {
            limits.learn(&answers("536870912", "1073741824", output));
            limits.large_reply_bytes()
        };
        assert_eq!(large("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"), LARGE_REPLY_BYTES);
        assert_eq!(large("normal 8388608 0 0"), 512 * 1024);
        assert_eq!(large("slave 1 1 1 normal 8388608 4194304 10 pubsub 1 1 1"), 256 * 1024);
        assert_eq!(large("normal 1000 0 0"), LARGE_REPLY_BYTES_MIN);
    }
}
