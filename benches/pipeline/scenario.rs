//! What clients send again and again, what Redis answers to it, and the rules in force meanwhile.

use respguard::engine::resp::encode;

pub const VALUE_BYTES: usize = 64;
/// Groups in one batch.
pub const GROUPS: [usize; 2] = [1, 4];

/// One batch: a client sends it as soon as the former one is answered.
#[derive(Clone)]
pub struct Job {
    pub requests: Vec<u8>,
    pub replies: Vec<u8>,
    /// What is counted: requests, or groups.
    pub units: usize,
}

impl Job {
    /// So many GETs.
    pub fn get(depth: usize) -> Job {
        let mut job = Job { requests: Vec::new(), replies: Vec::new(), units: depth };
        for _ in 0..depth {
            encode::request(&mut job.requests, &[b"GET", b"key"]);
            encode::bulk(&mut job.replies, &[b'v'; VALUE_BYTES]);
        }
        job
    }

    /// So many groups, bare.
    pub fn group(groups: usize) -> Job {
        let mut job = Job { requests: Vec::new(), replies: Vec::new(), units: groups };
        for _ in 0..groups {
            job.push_members();
            job.replies.extend_from_slice(MEMBER_REPLIES);
        }
        job
    }

    /// So many groups, each in a MULTI of the client's own.
    pub fn transaction(groups: usize) -> Job {
        let mut job = Job { requests: Vec::new(), replies: Vec::new(), units: groups };
        for _ in 0..groups {
            encode::request(&mut job.requests, &[b"MULTI"]);
            job.push_members();
            encode::request(&mut job.requests, &[b"EXEC"]);
            job.replies.extend_from_slice(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n");
            job.replies.extend_from_slice(MEMBER_REPLIES);
        }
        job
    }

    fn push_members(&mut self) {
        encode::request(&mut self.requests, &[b"SET", b"order:1000", &[b'v'; VALUE_BYTES]]);
        encode::request(&mut self.requests, &[b"HSET", b"order-info:1000", b"state", b"paid"]);
        encode::request(&mut self.requests, &[b"SADD", b"orders", b"1000"]);
        encode::request(&mut self.requests, &[b"EXPIRE", b"order-info:1000", b"600"]);
    }
}

/// What Redis answers to the members from the second time on.
const MEMBER_REPLIES: &[u8] = b"+OK\r\n:0\r\n:0\r\n:1\r\n";

/// The group that [`Job::group`] sends.
pub const GROUP: &str = r#"
[[group]]
name = "order"
commands = ["SET order:{id} *", "HSET order-info:{id} state *", "SADD orders {id}", "EXPIRE order-info:{id} *"]
"#;

/// The same, behind a preflight.
pub const GUARDED: &str = r#"
[[group]]
name = "order"
atomic = "guarded"
commands = ["SET order:{id} *", "HSET order-info:{id} state *", "SADD orders {id}", "EXPIRE order-info:{id} *"]
"#;

/// Ten groups and five TTL rules that match nothing of what is sent; three of the groups begin with the command that is.
pub const IDLE_RULES: &str = r#"
group = [
  { name = "lease", commands = ["GET lease:{id}", "SET lease:{id} *"] },
  { name = "refresh", commands = ["GET token:{id}", "DEL token:{id}", "SADD tokens {id}"] },
  { name = "profile", commands = ["GET profile:{id}", "HSET seen {id} *"] },
  { name = "login", commands = ["SETEX session:{user}:{id} * *", "SADD sessions:{user} {id}", "EXPIRE sessions:{user} *"] },
  { name = "rate", commands = ["INCR rate:{id}", "EXPIRE rate:{id} *"] },
  { name = "upload", commands = ["HSET blob:{id} bytes *", "HSET blob-info:{id} ..."] },
  { name = "snapshot", commands = ["SET snapshot:{id} *", "SET latest {id}", "ZADD snapshots * {id}"] },
  { name = "cart", commands = ["HSET cart:{id} ...", "EXPIRE cart:{id} *"] },
  { name = "job", commands = ["LPUSH jobs {id}", "SET job:{id} *"] },
  { name = "info", keys = ["info:*", "about:*"] },
]
ttl = [
  { name = "sessions", keys = ["session:*"] },
  { name = "tokens", keys = ["token:*"], max = "30d" },
  { name = "rates", keys = ["rate:*"] },
  { name = "carts", keys = ["cart:*"] },
  { name = "leases", keys = ["lease:*", "lock:*"] },
]
"#;
