//! What sentinels report about a service, and which server is therefore the primary.
//!
//! Each of them may know of a failover later than others. The epoch of the failover tells whose word is newer
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>).

use std::time::{Duration, Instant};

use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// What a sentinel that has fallen silent has said counts for so long.
const WORD_LIFE: Duration = Duration::from_secs(30);

/// The channel on which sentinels tell of a new primary.
pub const SWITCH_CHANNEL: &[u8] = b"+switch-master";

/// Asks for the primary of a service and for the epoch of its last failover, both as of the same moment.
pub fn question(service: &str) -> Vec<u8> {
    let service = service.as_bytes();
    encode::requests(&[&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service], &[b"SENTINEL", b"MASTER", service]])
}

/// What one sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Report {
    /// The primary is there, since the failover with this epoch.
    Named { host: Box<str>, port: u16, epoch: u64 },
    /// It watches no such service.
    Unknown,
}

/// What an answer says that is no word about the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReport {
    /// It is refused: a password is wanted, or the user may not ask.
    Refused(Box<str>),
    /// Whoever answers is no sentinel.
    NoSentinel(Box<str>),
}

impl Report {
    /// Reads the answers to [`question`].
    ///
    /// # Errors
    /// They are not what a sentinel answers.
    pub fn read(address: &[u8], service: &[u8]) -> Result<Report, NoReport> {
        if value::is_error(address) {
            return Err(NoReport::read(address));
        }
        if value::is_null(address) {
            return Ok(Report::Unknown);
        }
        let named = named(address).ok_or_else(|| NoReport::read(address))?;
        // Without its epoch a word is older than any that has one.
        let epoch = field(service, b"config-epoch").and_then(number).unwrap_or(0);
        Ok(Report::Named { host: named.0, port: named.1, epoch })
    }
}

impl NoReport {
    fn read(frame: &[u8]) -> NoReport {
        let text = String::from_utf8_lossy(value::error_text(frame)).into();
        let is_refused = [&b"-NOAUTH"[..], b"-NOPERM", b"-WRONGPASS"].iter().any(|word| frame.starts_with(word));
        if is_refused { NoReport::Refused(text) } else { NoReport::NoSentinel(text) }
    }
}

fn named(frame: &[u8]) -> Option<(Box<str>, u16)> {
    let mut parts = elements(frame);
    let (host, port) = (value::bulk(parts.next()?)?, value::bulk(parts.next()?)?);
    let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty())?;
    Some((host.into(), u16::try_from(number(port)?).ok().filter(|port| *port > 0)?))
}

/// The value behind a name, in an array of names and values.
fn field<'a>(frame: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut parts = elements(frame);
    while let Some(key) = parts.next() {
        let value = parts.next()?;
        if value::bulk(key) == Some(name) {
            return value::bulk(value);
        }
    }
    None
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// True when what was published is about this service: `name old-host old-port new-host new-port`.
pub fn is_switch_of(service: &str, push: &[u8]) -> bool {
    let mut parts = elements(push);
    let is_message = parts.next().and_then(value::bulk) == Some(b"message");
    let payload = parts.nth(1).and_then(value::bulk).unwrap_or_default();
    is_message && payload.strip_prefix(service.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

/// Whether a server says that it is the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It is.
    Primary,
    /// It follows another server, or is about to.
    Replica,
    /// It does not say: the user may not ask.
    NotReported(Box<str>),
}

/// <https://redis.io/docs/latest/commands/role/>
pub const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

impl Role {
    /// Reads the answer to ROLE.
    pub fn read(frame: &[u8]) -> Role {
        if value::is_error(frame) {
            return Role::NotReported(String::from_utf8_lossy(value::error_text(frame)).into());
        }
        match elements(frame).next().and_then(value::bulk) {
            Some(b"master" | b"primary") => Role::Primary,
            _ => Role::Replica,
        }
    }
}

/// The last word of each sentinel, by its place in the configuration.
#[derive(Debug)]
pub struct Reports {
    said: Vec<Option<(Report, Instant)>>,
}

/// What all of them together say.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Verdict<'a> {
    /// The server with the newest word, and whose word it is.
    Named { by: usize, host: &'a str, port: u16, epoch: u64 },
    /// Those that answer watch no such service.
    Unknown,
    /// None has answered for long.
    Silent,
}

impl Reports {
    /// So many sentinels, none of which has said anything.
    pub fn new(sentinels: usize) -> Reports {
        Reports { said: vec![None; sentinels] }
    }

    /// One has answered.
    pub fn record(&mut self, sentinel: usize, word: Report, now: Instant) {
        if let Some(said) = self.said.get_mut(sentinel) {
            *said = Some((word, now));
        }
    }

    /// Which server is the primary. Of words with one epoch that of the first sentinel counts.
    pub fn verdict(&self, now: Instant) -> Verdict<'_> {
        let lives = |at: &Instant| now.saturating_duration_since(*at) < WORD_LIFE;
        let living = self.said.iter().enumerate().filter_map(|(by, said)| Some((by, said.as_ref()?)));
        let mut verdict = Verdict::Silent;
        let mut newest = None;
        for (by, (word, _)) in living.filter(|(_, (_, at))| lives(at)) {
            match word {
                Report::Named { host, port, epoch } if newest.is_none_or(|newest| *epoch > newest) => {
                    newest = Some(*epoch);
                    verdict = Verdict::Named { by, host, port: *port, epoch: *epoch };
                }
                Report::Named { .. } => {}
                Report::Unknown if newest.is_none() => verdict = Verdict::Unknown,
                Report::Unknown => {}
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(words: &[&str]) -> Vec<u8> {
        let mut frame = Vec::new();
        encode::request(&mut frame, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        frame
    }

    fn word(port: u16, epoch: u64) -> Report {
        Report::Named { host: "10.0.0.1".into(), port, epoch }
    }

    #[test]
    fn a_sentinel_names_a_server_and_the_epoch_of_its_failover() {
        let service = array(&["name", "m", "ip", "10.0.0.9", "port", "9", "config-epoch", "7"]);
        assert_eq!(Report::read(&array(&["10.0.0.1", "6379"]), &service), Ok(word(6379, 7)));
        assert_eq!(Report::read(&array(&["10.0.0.1", "6379"]), b"-ERR no\r\n"), Ok(word(6379, 0)));
        assert_eq!(Report::read(b"*-1\r\n", b"-ERR No such master with that name\r\n"), Ok(Report::Unknown));
    }

    #[test]
    fn what_no_sentinel_says_is_no_word() {
        let refused = Report::read(b"-NOAUTH Authentication required.\r\n", b"");
        assert_eq!(refused, Err(NoReport::Refused("NOAUTH Authentication required.".into())));
        let other = Report::read(b"-ERR unknown command 'SENTINEL', with args beginning with: \r\n", b"");
        assert!(matches!(other, Err(NoReport::NoSentinel(_))));
        for frame in [&array(&["10.0.0.1", "0"])[..], &array(&["", "1"]), &array(&["10.0.0.1"]), b"+OK\r\n", b":1\r\n"] {
            assert!(matches!(Report::read(frame, b""), Err(NoReport::NoSentinel(_))), "{frame:?}");
        }
    }

    #[test]
    fn a_switch_is_of_the_service_that_it_begins_with() {
        let push = |payload| array(&["message", "+switch-master", payload]);
        assert!(is_switch_of("m", &push("m 10.0.0.1 1 10.0.0.1 2")));
        assert!(!is_switch_of("m", &push("mm 10.0.0.1 1 10.0.0.1 2")));
        assert!(!is_switch_of("m", &array(&["subscribe", "+switch-master", "m "])));
    }

    #[test]
    fn a_role_is_read_from_its_first_word() {
        assert_eq!(Role::read(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"), Role::Primary);
        assert_eq!(Role::read(b"*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$7\r\nconnect\r\n:0\r\n"), Role::Replica);
        assert_eq!(Role::read(b"-NOPERM no\r\n"), Role::NotReported("NOPERM no".into()));
    }

    #[test]
    fn the_word_with_the_newest_failover_counts() {
        let (mut reports, now) = (Reports::new(3), Instant::now());
        assert_eq!(reports.verdict(now), Verdict::Silent);
        reports.record(1, word(1, 4), now);
        reports.record(2, word(2, 5), now);
        reports.record(0, word(1, 4), now);
        assert!(matches!(reports.verdict(now), Verdict::Named { by: 2, port: 2, epoch: 5, .. }));
        reports.record(0, word(2, 5), now);
        assert!(matches!(reports.verdict(now), Verdict::Named { by: 0, port: 2, .. }));
    }

    #[test]
    fn a_service_that_is_watched_anew_begins_with_small_epochs_again() {
        let (mut reports, now) = (Reports::new(2), Instant::now());
        (0..2).for_each(|sentinel| reports.record(sentinel, word(1, 9), now));
        (0..2).for_each(|sentinel| reports.record(sentinel, word(2, 0), now));
        assert!(matches!(reports.verdict(now), Verdict::Named { port: 2, epoch: 0, .. }));
    }

    #[test]
    fn the_word_of_a_sentinel_that_fell_silent_fades() {
        let (mut reports, now) = (Reports::new(2), Instant::now());
        reports.record(0, word(1, 9), now);
        let later = now + WORD_LIFE;
        reports.record(1, word(2, 3), later);
        assert!(matches!(reports.verdict(later), Verdict::Named { port: 2, .. }));
        assert_eq!(reports.verdict(later + WORD_LIFE), Verdict::Silent);
    }

    #[test]
    fn an_unknown_service_is_told_only_where_nobody_knows_it() {
        let (mut reports, now) = (Reports::new(2), Instant::now());
        reports.record(0, Report::Unknown, now);
        assert_eq!(reports.verdict(now), Verdict::Unknown);
        reports.record(1, word(1, 0), now);
        assert!(matches!(reports.verdict(now), Verdict::Named { .. }));
        reports.record(0, Report::Unknown, now);
        assert!(matches!(reports.verdict(now), Verdict::Named { .. }));
    }
}
