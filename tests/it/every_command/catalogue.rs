//! Data to call commands on, and good and bad calls of commands that name no keys.

/// The keys that the calls name.
pub const KEYS: [&str; 14] = ["k", "a", "b", "c", "d", "e", "h", "l", "s", "t", "z", "g", "x", "streams"];

/// What all keys are filled with, one kind after the other; `@` stands for the key.
pub const FILLINGS: &[(&str, &[&str])] = &[
    ("nothing", &[]),
    ("numbers", &["SET @ 10"]),
    ("text", &["SET @ hello"]),
    ("lists", &["RPUSH @ 3 1 2"]),
    ("sets", &["SADD @ 3 1 2"]),
    ("hashes", &["HSET @ f 1"]),
    ("sorted sets", &["ZADD @ 1 a 2 b 3 m"]),
    ("places", &["GEOADD @ 1 1 a 2 2 b"]),
    ("streams", &["XADD @ 1-1 f v", "XADD @ 2-2 g w", "XGROUP CREATE @ g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS @ >"]),
    ("logs", &["PFADD @ 1 2 3"]),
];

/// The same, where the server has documents.
pub const DOCUMENTS: (&str, &[&str]) = ("documents", &[r#"JSON.SET @ $ {"f":1,"g":true,"s":"x","l":[1,2,3],"o":{"f":[1]}}"#]);

/// Calls without keys, or that only some server answers; words are separated by single blanks.
#[rustfmt::skip]
pub const CALLS: &[&str] = &[
    // The connection
    "PING", "PING hello", "ECHO hello", "SELECT 0", "SELECT 15", "SELECT 16", "SELECT -1", "SELECT x", "SELECT 99999999999999999999",
    "SELECT 01", "QUIT", "RESET", "HELLO", "HELLO 2", "HELLO 3", "HELLO 4", "HELLO 1", "HELLO x", "HELLO 3 SETNAME me",
    "HELLO 2 SETNAME me", "HELLO 3 SETNAME a\tb", "HELLO 3 SETNAME", "HELLO 3 AUTH default", "HELLO 3 AUTH default x",
    "HELLO 3 AUTH nobody x", "HELLO 2 AUTH default x SETNAME y", "HELLO 3 NOSUCH", "HELLO 3 SETNAME a SETNAME b", "hello 03",
    "AUTH x", "AUTH default x", "AUTH nobody x", "AUTH a b c",
    // Transactions
    "MULTI", "EXEC", "DISCARD", "WATCH k", "WATCH a b", "UNWATCH",
    // Publish and subscribe
    "SUBSCRIBE c", "SUBSCRIBE c d c", "PSUBSCRIBE c*", "PSUBSCRIBE a* b*", "SSUBSCRIBE c", "SSUBSCRIBE c d", "UNSUBSCRIBE", "UNSUBSCRIBE c",
    "UNSUBSCRIBE c d", "PUNSUBSCRIBE", "PUNSUBSCRIBE c*", "SUNSUBSCRIBE", "SUNSUBSCRIBE c d", "PUBLISH c m", "SPUBLISH c m",
    "PUBSUB CHANNELS", "PUBSUB CHANNELS c*", "PUBSUB NUMSUB", "PUBSUB NUMSUB c d", "PUBSUB NUMPAT", "PUBSUB SHARDCHANNELS",
    "PUBSUB SHARDNUMSUB c", "PUBSUB HELP",
    // Clients
    "CLIENT SETNAME me", "CLIENT SETNAME", "CLIENT SETNAME a\tb", "CLIENT SETNAME ", "CLIENT GETNAME", "CLIENT SETINFO LIB-NAME x",
    "CLIENT SETINFO nosuch x", "CLIENT ID", "CLIENT INFO", "CLIENT LIST", "CLIENT LIST TYPE normal", "CLIENT LIST TYPE nosuch",
    "CLIENT LIST TYPE pubsub", "CLIENT LIST TYPE replica", "CLIENT LIST TYPE master", "CLIENT LIST ID 999999", "CLIENT LIST ID x",
    "CLIENT LIST ID 0", "CLIENT LIST ID", "CLIENT LIST NOSUCH", "CLIENT LIST TYPE", "CLIENT LIST TYPE normal x",
    "CLIENT KILL 1.2.3.4:5", "CLIENT KILL ID 999999", "CLIENT KILL ID 0", "CLIENT KILL ID -1", "CLIENT KILL ID x", "CLIENT KILL ADDR 1.2.3.4:5",
    "CLIENT KILL LADDR 1.2.3.4:5", "CLIENT KILL USER nosuch", "CLIENT KILL TYPE nosuch", "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE master",
    "CLIENT KILL SKIPME maybe", "CLIENT KILL ID 999999 SKIPME no", "CLIENT KILL ID", "CLIENT KILL ID 1 ADDR", "CLIENT KILL NOSUCH x",
    "CLIENT KILL MAXAGE 999999", "CLIENT KILL ID 999999 USER nosuch",
    "CLIENT UNBLOCK 999999", "CLIENT UNBLOCK 999999 TIMEOUT", "CLIENT UNBLOCK 999999 ERROR", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 999999 NOSUCH",
    "CLIENT UNBLOCK 0", "CLIENT UNBLOCK -1", "CLIENT UNBLOCK 99999999999999999999",
    "CLIENT NO-EVICT ON", "CLIENT NO-EVICT OFF", "CLIENT NO-EVICT maybe", "CLIENT NO-TOUCH ON", "CLIENT NO-TOUCH OFF",
    "CLIENT GETREDIR", "CLIENT TRACKINGINFO", "CLIENT TRACKING ON", "CLIENT TRACKING OFF", "CLIENT TRACKING ON BCAST", "CLIENT TRACKING ON BCAST PREFIX a PREFIX b",
    "CLIENT TRACKING ON PREFIX a", "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab", "CLIENT TRACKING ON OPTIN", "CLIENT TRACKING ON OPTOUT",
    "CLIENT TRACKING ON OPTIN OPTOUT", "CLIENT TRACKING ON OPTIN BCAST", "CLIENT TRACKING ON NOLOOP", "CLIENT TRACKING ON REDIRECT 999999",
    "CLIENT TRACKING maybe", "CLIENT TRACKING ON NOSUCH", "CLIENT CACHING YES", "CLIENT CACHING NO", "CLIENT CACHING maybe",
    "CLIENT PAUSE 1", "CLIENT PAUSE 1 WRITE", "CLIENT PAUSE 1 ALL", "CLIENT PAUSE 1 NOSUCH", "CLIENT PAUSE x", "CLIENT PAUSE -1", "CLIENT UNPAUSE",
    "CLIENT REPLY ON", "CLIENT REPLY maybe", "CLIENT HELP", "CLIENT NOSUCH", "CLIENT", "CLIENT LIST x y z",
    // The server
    "INFO", "INFO server", "INFO nosuch", "INFO server clients", "INFO memory", "INFO persistence", "INFO stats", "INFO replication", "INFO cpu",
    "INFO modules", "INFO cluster", "INFO keyspace", "INFO errorstats", "TIME", "LASTSAVE", "DBSIZE", "ROLE", "LOLWUT", "LOLWUT VERSION 5", "LOLWUT VERSION 6 10 10",
    "COMMAND", "COMMAND COUNT", "COMMAND INFO get set nosuch", "COMMAND INFO config|get", "COMMAND DOCS get", "COMMAND DOCS set config", "COMMAND DOCS nosuch",
    "COMMAND LIST", "COMMAND LIST FILTERBY ACLCAT string", "COMMAND LIST FILTERBY PATTERN x*", "COMMAND LIST FILTERBY MODULE nosuch",
    "COMMAND LIST FILTERBY nosuch x", "COMMAND GETKEYS MSET a 1 b 2", "COMMAND GETKEYS PING", "COMMAND GETKEYS nosuch", "COMMAND GETKEYSANDFLAGS MSET a 1 b 2",
    "COMMAND HELP", "COMMAND NOSUCH", "CONFIG GET maxmemory", "CONFIG GET maxm*", "CONFIG GET nosuch", "CONFIG GET save appendonly", "CONFIG SET maxmemory 0", "CONFIG SET nosuch 1",
    "CONFIG SET maxmemory x", "CONFIG SET slowlog-max-len 5 latency-monitor-threshold 0", "CONFIG SET port", "CONFIG RESETSTAT", "CONFIG REWRITE", "CONFIG HELP",
    "FLUSHALL", "FLUSHALL ASYNC", "FLUSHALL SYNC", "FLUSHALL nosuch", "FLUSHDB", "FLUSHDB ASYNC", "SWAPDB 0 1", "SWAPDB 0 x", "SWAPDB 0 99", "MEMORY USAGE nosuch",
    "MEMORY DOCTOR", "MEMORY STATS", "MEMORY MALLOC-STATS", "MEMORY PURGE", "MEMORY HELP", "SLOWLOG GET", "SLOWLOG GET -1", "SLOWLOG GET 5", "SLOWLOG GET x", "SLOWLOG LEN",
    "SLOWLOG RESET", "SLOWLOG HELP", "LATENCY DOCTOR", "LATENCY HELP", "LATENCY LATEST", "LATENCY HISTORY command", "LATENCY GRAPH nosuch", "LATENCY RESET",
    "LATENCY HISTOGRAM nosuch", "MODULE LIST", "MODULE LOAD nosuch", "MODULE UNLOAD nosuch", "MODULE HELP", "READONLY", "READWRITE", "ASKING", "FAILOVER",
    "FAILOVER ABORT", "FAILOVER TO h", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "REPLICAOF h x", "REPLCONF listening-port 1", "REPLCONF capa eof", "REPLCONF nosuch 1", "WAIT 0 0", "WAIT 0 10", "WAIT 1 10",
    "WAIT x 0", "WAIT 0 -1", "WAIT 0 x", "PFSELFTEST x", "CLUSTER INFO", "CLUSTER NODES", "CLUSTER KEYSLOT k", "CLUSTER HELP", "DEBUG SLEEP 0", "DEBUG JMAP",
    "DEBUG STRINGMATCH-LEN 1 1", "DEBUG DIGEST", "DEBUG DIGEST-VALUE k", "DEBUG OBJECT k", "DEBUG NOSUCH", "DEBUG SET-ACTIVE-EXPIRE 1", "DEBUG ERROR RESP\tinjected",
    "DEBUG PROTOCOL string", "DEBUG PROTOCOL integer", "DEBUG PROTOCOL double", "DEBUG PROTOCOL null", "DEBUG PROTOCOL array", "DEBUG PROTOCOL set", "DEBUG PROTOCOL map",
    "DEBUG PROTOCOL attrib", "DEBUG PROTOCOL push", "DEBUG PROTOCOL verbatim", "DEBUG PROTOCOL true", "DEBUG PROTOCOL false", "DEBUG PROTOCOL bignum", "DEBUG PROTOCOL nosuch",
    "DEBUG LISTPACK l", "DEBUG ZIPLIST l", "DEBUG QUICKLIST-PACKED-THRESHOLD 100b", "DEBUG RELOAD", "DEBUG HELP",
    // Access control
    "ACL WHOAMI", "ACL USERS", "ACL LIST", "ACL CAT", "ACL CAT string", "ACL CAT nosuch", "ACL GETUSER default", "ACL GETUSER nosuch", "ACL SETUSER u on >p ~* +@all", "ACL SETUSER u nosuch",
    "ACL DELUSER u", "ACL DELUSER default", "ACL GENPASS", "ACL GENPASS 32", "ACL GENPASS x", "ACL LOG", "ACL LOG 5", "ACL LOG RESET", "ACL DRYRUN default GET k", "ACL DRYRUN nosuch GET k",
    "ACL DRYRUN default nosuch", "ACL LOAD", "ACL SAVE", "ACL HELP",
    // Scripts
    "EVAL return{1,2,{3,'x'}} 0", "EVAL return(redis.call('GET',KEYS[1])) 1 k", "EVAL return(redis.error_reply('MY\terror')) 0", "EVAL return(redis.status_reply('FINE')) 0",
    "EVAL error('x') 0", "EVAL return(redis.call('NOSUCH')) 0", "EVAL return(redis.pcall('INCR',KEYS[1])) 1 k", "EVAL return(redis.call('INCR',KEYS[1])) 1 k",
    "EVAL redis.setresp(3);return(redis.call('HGETALL',KEYS[1])) 1 k", "EVAL return{double=1.5} 0", "EVAL return{map={a=1}} 0", "EVAL return{set={a=true}} 0",
    "EVAL return{big_number='123'} 0", "EVAL return(false) 0", "EVAL return(true) 0", "EVAL return(nil) 0", "EVAL return 0 x", "EVAL return)( 0", "EVAL return(1) x", "EVAL return(1) -1",
    "EVAL_RO return(redis.call('SET',KEYS[1],1)) 1 k", "EVALSHA 0123456789012345678901234567890123456789 0", "EVALSHA_RO 0123456789012345678901234567890123456789 0", "SCRIPT LOAD return(1)", "SCRIPT LOAD return)(",
    "SCRIPT EXISTS 0123456789012345678901234567890123456789 x", "SCRIPT FLUSH", "SCRIPT FLUSH ASYNC", "SCRIPT FLUSH x", "SCRIPT KILL", "SCRIPT DEBUG x", "SCRIPT DEBUG NO", "SCRIPT HELP",
    "FUNCTION LOAD #!lua\tname=lib\nredis.register_function('f',function(keys,args)return{keys,args}end)", "FUNCTION LOAD x", "FUNCTION LOAD REPLACE x", "FUNCTION LIST", "FUNCTION LIST WITHCODE",
    "FUNCTION LIST LIBRARYNAME nosuch", "FUNCTION LIST x", "FUNCTION DELETE nosuch", "FUNCTION DUMP", "FUNCTION FLUSH", "FUNCTION FLUSH x", "FUNCTION KILL", "FUNCTION RESTORE x", "FUNCTION STATS", "FUNCTION HELP",
    "FCALL nosuch 0", "FCALL_RO nosuch 0", "FCALL f 1 k x", "FCALL_RO f 1 k x", "FCALL f x",
    // Moving keys
    "MIGRATE 127.0.0.1 1 nosuch 0 100", "MIGRATE 127.0.0.1 1 k 0 100", "MIGRATE 127.0.0.1 x k 0 100", "DUMP nosuch", "RESTORE n 0 x", "MOVE k 15", "MOVE k 99", "COPY k n DB 3", "RANDOMKEY", "KEYS *", "KEYS nosuch", "SCAN 0",
    "SCAN x", "SCAN 0 COUNT 1000", "SCAN 0 TYPE nosuch", "SCAN 0 COUNT 0", "TYPE nosuch", "TTL nosuch", "OBJECT ENCODING nosuch", "OBJECT NOSUCH k", "OBJECT HELP", "SORT nosuch BY x LIMIT 0 1 GET #",
    // Nothing that a server knows
    "NOSUCH", "NOSUCH a b c", "", " ", "GET\r k", "nosuch|sub", "config|get x", "client|list", "COMMAND GETKEYS", "XINFO NOSUCH", "XGROUP NOSUCH x", "XGROUP HELP", "XINFO HELP",
];
