//! Groups that clients send, what Redis answers to them, and rules that match nothing of what is sent.

use respguard_resp::encode;

/// So many groups of four commands.
pub fn groups(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..count {
        encode::request(&mut out, &[b"SET", b"order:1000", &[b'v'; 64]]);
        encode::request(&mut out, &[b"HSET", b"order-info:1000", b"state", b"paid"]);
        encode::request(&mut out, &[b"SADD", b"orders", b"1000"]);
        encode::request(&mut out, &[b"EXPIRE", b"order-info:1000", b"600"]);
    }
    out
}

/// What Redis answers to so many, each in a transaction.
pub fn replies(count: usize) -> Vec<u8> {
    [b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n", MEMBER_REPLIES].concat().repeat(count)
}

/// What Redis answers to the members from the second time on.
const MEMBER_REPLIES: &[u8] = b"+OK\r\n:0\r\n:0\r\n:1\r\n";

/// The group of [`groups`].
pub const GROUP: &str = r#"
[[group]]
name = "order"
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
