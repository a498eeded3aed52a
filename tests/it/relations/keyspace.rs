//! A keyspace with faults, and clients that write to it meanwhile.

use super::*;

/// Everything about one key, so that two states can be compared.
pub(super) fn state(redis: &RedisServer, key: &str) -> String {
    let mut wire = redis.wire();
    let held = match wire.ask(&format!("TYPE {key}")).trim_end() {
        "+set" => {
            let reply = wire.ask(&format!("SMEMBERS {key}"));
            let mut members: Vec<&str> = reply.lines().collect();
            members.sort_unstable();
            members.join(" ")
        }
        "+hash" => {
            let reply = wire.ask(&format!("HGETALL {key}"));
            let lines: Vec<&str> = reply.lines().skip(1).collect();
            let mut fields: Vec<String> = lines.chunks(4).map(|field| field.join(" ")).collect();
            fields.sort_unstable();
            fields.join(" ")
        }
        "+zset" => wire.ask(&format!("ZRANGE {key} 0 -1 WITHSCORES")),
        "+list" => wire.ask(&format!("LRANGE {key} 0 -1")),
        "+string" => wire.ask(&format!("DUMP {key}")),
        other => other.to_owned(),
    };
    let at = wire.ask(&format!("PEXPIRETIME {key}"));
    let at = if at.starts_with('-') { wire.ask(&format!("TTL {key}")) } else { at };
    format!("{held} {at}")
}

/// A keyspace in which everything holds, with faults of every kind at random places.
pub(super) struct Seeded {
    pub(super) lines: Vec<String>,
    pub(super) faults: BTreeMap<String, BTreeSet<String>>,
    /// Keys that a repair changes.
    pub(super) touched: BTreeSet<String>,
}

impl Seeded {
    pub(super) fn new(size: usize, random: &mut fastrand::Rng) -> Seeded {
        let mut seeded = Seeded { lines: Vec::new(), faults: BTreeMap::new(), touched: BTreeSet::new() };
        let mut chosen = |count: usize| -> BTreeSet<usize> {
            let mut chosen = BTreeSet::new();
            while chosen.len() < count {
                chosen.insert(random.usize(..size));
            }
            chosen
        };
        let (half, other) = (chosen(2 * FAULTS), chosen(3 * FAULTS));
        let half: Vec<_> = half.into_iter().collect();
        let other: Vec<_> = other.into_iter().collect();
        for id in 0..size {
            let lost = half.iter().position(|lost| *lost == id);
            if lost.is_none_or(|place| place % 2 == 0) {
                seeded.lines.push(format!("SET blobs:{id} b{id} EX 90000"));
            }
            if lost.is_none_or(|place| place % 2 == 1) {
                seeded.lines.push(format!("SET info:{id} i{id}"));
            }
            if let Some(place) = lost {
                seeded.fault("blob-pairs", &format!("{}:{id}", if place % 2 == 0 { "blobs" } else { "info" }), None);
            }
            seeded.session(id, other.iter().position(|lost| *lost == id).map(|place| place % 3));
            seeded.snapshot(id, other.iter().position(|lost| *lost == id).map(|place| place % 3));
            seeded.parts(id, other.iter().position(|lost| *lost == id).map(|place| place % 3));
        }
        seeded
    }

    fn fault(&mut self, relation: &str, key: &str, element: Option<&str>) {
        let element = element.map(|element| format!(" {element}")).unwrap_or_default();
        self.faults.entry(relation.to_owned()).or_default().insert(format!("{key}{element}"));
        self.touched.insert(key.to_owned());
    }

    /// Without its token, without its member, or with a token that outlives its session.
    fn session(&mut self, id: usize, fault: Option<usize>) {
        let (user, token) = (format!("u{}", id / 4), format!("t{id}"));
        if fault != Some(0) {
            let ttl = if fault == Some(2) { 9000 } else { 3600 };
            self.lines.push(format!("SET rt:{user}:{token} x EX {ttl}"));
        } else {
            self.fault("session-tokens", &format!("sess:{user}"), Some(&token));
        }
        if fault != Some(1) {
            self.lines.push(format!("SADD sess:{user} {token}"));
            self.lines.push(format!("EXPIRE sess:{user} 7200"));
        } else {
            self.fault("token-sessions", &format!("rt:{user}:{token}"), None);
        }
        if fault == Some(2) {
            self.faults.entry("session-tokens".to_owned()).or_default().insert(format!("sess:{user} {token}"));
        }
    }

    /// A pointer to nothing, to what is in no index, or an index with too much.
    fn snapshot(&mut self, id: usize, fault: Option<usize>) {
        let region = format!("r{id}");
        self.lines.push(format!("SET latest:{region} {id} EX 80000"));
        self.lines.push(format!("ZADD index:{region} 1.5 other"));
        self.lines.push(format!("SET snap:{region}:other s"));
        if fault != Some(0) {
            self.lines.push(format!("SET snap:{region}:{id} s"));
        }
        if fault != Some(1) {
            self.lines.push(format!("ZADD index:{region} {id}.25 {id}"));
        }
        match fault {
            Some(0) => {
                self.fault("latest", &format!("latest:{region}"), Some(&id.to_string()));
                self.fault("ranking", &format!("index:{region}"), Some(&id.to_string()));
            }
            Some(1) => self.fault("latest", &format!("latest:{region}"), Some(&id.to_string())),
            _ => {}
        }
    }

    fn parts(&mut self, id: usize, fault: Option<usize>) {
        let many = id / 50;
        self.lines.push(format!("HSET catalog:{many} {id} v{id}"));
        self.lines.push(format!("RPUSH queue:{many} {id}"));
        if fault == Some(0) {
            self.fault("catalog", &format!("catalog:{many}"), Some(&id.to_string()));
        } else {
            self.lines.push(format!("SET entry:{many}:{id} x"));
        }
        if fault == Some(1) {
            self.fault("jobs", &format!("queue:{many}"), Some(&id.to_string()));
        } else {
            self.lines.push(format!("SET job:{many}:{id} x"));
        }
    }
}

/// Clients that make and delete pairs through a group until they are told to stop.
pub(super) struct Traffic {
    over: Arc<AtomicBool>,
    /// Pairs that were made, and deleted again.
    pub(super) pairs: Arc<AtomicU64>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    pub(super) fn start(proxy: &Proxy) -> Traffic {
        let (over, pairs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..2).map(|client| {
            let (mut wire, over, pairs) = (proxy.wire(), Arc::clone(&over), Arc::clone(&pairs));
            thread::spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("live{client}-{}", round % 500);
                    let replies = wire.pipeline(&[
                        &format!("SET blobs:{id} x"),
                        &format!("SET info:{id} x"),
                        "MULTI",
                        &format!("DEL blobs:{id} info:{id}"),
                        &format!("SADD sess:{id} t"),
                        &format!("SET rt:{id}:t x EX 60"),
                        "EXEC",
                        "MULTI",
                        &format!("DEL sess:{id} rt:{id}:t"),
                        "EXEC",
                    ]);
                    assert!(replies.iter().all(|reply| !reply.starts_with('-')), "{replies:?}");
                    // A blob with its info, and a session with its token.
                    pairs.fetch_add(2, Ordering::Relaxed);
                }
            })
        });
        Traffic { clients: clients.collect(), pairs, over }
    }

    pub(super) fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("a client that goes well"));
        self.pairs.load(Ordering::Relaxed)
    }
}
