//! Well-formed requests of every command that names keys, and some that name none.

/// Words are separated by single blanks; two blanks make an empty word.
#[rustfmt::skip]
pub const INVOCATIONS: &[&str] = &[
    // Strings
    "APPEND k v", "BITCOUNT k", "BITCOUNT k 0 -1 BIT", "BITFIELD k GET u8 0", "BITFIELD k SET u8 0 1 INCRBY u8 0 1",
    "BITFIELD_RO k GET u8 0", "BITOP AND d a", "BITOP OR d a b c", "BITOP NOT d a", "BITPOS k 1", "BITPOS k 1 0 -1 BIT",
    "DECR k", "DECRBY k 2", "GET k", "GETBIT k 0", "GETDEL k", "GETEX k", "GETEX k EX 1", "GETEX k PERSIST",
    "GETRANGE k 0 -1", "GETSET k v", "INCR k", "INCRBY k 2", "INCRBYFLOAT k 1.5", "LCS a b", "LCS a b IDX MINMATCHLEN 2",
    "MGET a", "MGET a b c", "MSET a 1", "MSET a 1 b 2 c 3", "MSETNX a 1 b 2", "PSETEX k 1000 v", "SET k v",
    "SET k v EX 10 NX GET", "SET k v KEEPTTL", "SETBIT k 0 1", "SETEX k 10 v", "SETNX k v", "SETRANGE k 0 v", "STRLEN k",
    "SUBSTR k 0 1", "set k v", "sEt k v xx",
    "MSETEX 1 a 1", "MSETEX 2 a 1 b 2 EX 100", "MSETEX 2 a 1 b 2 NX PX 100000", "MSETEX 1 a 1 KEEPTTL", "DELIFEQ k v", "SET k v IFEQ w",
    "STRALGO LCS KEYS a b", "STRALGO LCS STRINGS a b",
    // Keys
    "COPY a b", "COPY a b DB 1 REPLACE", "DEL a", "DEL a b c", "DUMP k", "EXISTS a", "EXISTS a b a", "EXPIRE k 1",
    "EXPIRE k 1 NX", "EXPIREAT k 1", "EXPIRETIME k", "MOVE k 1", "OBJECT ENCODING k", "OBJECT FREQ k", "OBJECT IDLETIME k",
    "OBJECT REFCOUNT k", "object encoding k", "MEMORY USAGE k", "MEMORY USAGE k SAMPLES 5", "PERSIST k", "PEXPIRE k 1 XX",
    "PEXPIREAT k 1", "PEXPIRETIME k", "PTTL k", "RENAME a b", "RENAMENX a b", "RESTORE k 0 payload",
    "RESTORE k 0 payload REPLACE ABSTTL", "RESTORE-ASKING k 0 payload", "SORT k", "SORT k DESC ALPHA",
    "SORT k LIMIT 0 10 STORE d", "SORT k BY w_* GET # GET o_* STORE d", "SORT k STORE d STORE e", "SORT k BY nosort",
    "SORT k LIMIT STORE d", "SORT k BY STORE STORE d", "SORT k GET STORE ALPHA STORE d", "SORT_RO k", "SORT_RO k BY w_* LIMIT 0 1",
    "TOUCH a", "TOUCH a b", "TTL k", "TYPE k", "UNLINK a", "UNLINK a b c", "WATCH a", "WATCH a b",
    "MIGRATE h 1 k 0 100", "MIGRATE h 1 k 0 100 COPY REPLACE", "MIGRATE h 1 k 0 100 AUTH p", "MIGRATE h 1  0 100 KEYS a b c",
    "MIGRATE h 1  0 100 COPY KEYS a", "MIGRATE h 1  0 100 REPLACE AUTH2 u p KEYS a b", "MIGRATE h 1  0 100 AUTH p KEYS a",
    // HyperLogLogs
    "PFADD k", "PFADD k a b", "PFCOUNT a", "PFCOUNT a b c", "PFDEBUG GETREG k", "PFMERGE d a", "PFMERGE d a b c",
    // Hashes
    "HDEL h f", "HDEL h f g", "HEXISTS h f", "HGET h f", "HGETALL h", "HINCRBY h f 1", "HINCRBYFLOAT h f 1.5", "HKEYS h",
    "HLEN h", "HMGET h f g", "HMSET h f v g w", "HRANDFIELD h", "HRANDFIELD h 2 WITHVALUES", "HSCAN h 0",
    "HSCAN h 0 MATCH x COUNT 10", "HSET h f v", "HSET h f v g w", "HSETNX h f v", "HSTRLEN h f", "HVALS h",
    "HEXPIRE h 100 FIELDS 1 f", "HEXPIRE h 100 NX FIELDS 2 f g", "HEXPIREAT h 4102444800 FIELDS 1 f", "HEXPIRETIME h FIELDS 1 f",
    "HPEXPIRE h 100000 FIELDS 1 f", "HPEXPIREAT h 4102444800000 FIELDS 1 f", "HPEXPIRETIME h FIELDS 1 f", "HTTL h FIELDS 2 f g",
    "HPTTL h FIELDS 1 f", "HPERSIST h FIELDS 1 f", "HSETEX h FIELDS 1 f v", "HSETEX h EX 100 FIELDS 2 f v g w",
    "HSETEX h FNX KEEPTTL FIELDS 1 f v", "HGETEX h FIELDS 1 f", "HGETEX h EX 100 FIELDS 1 f", "HGETEX h PERSIST FIELDS 1 f",
    "HGETDEL h FIELDS 1 f", "HGETDEL h FIELDS 2 f g",
    // Lists
    "BLMOVE a b LEFT RIGHT 0", "BLMPOP 0 1 a LEFT", "BLMPOP 0 3 a b c RIGHT COUNT 2", "BLPOP a 0", "BLPOP a b c 0.5",
    "BRPOP a 0", "BRPOP a b 0", "BRPOPLPUSH a b 0", "LINDEX l 0", "LINSERT l BEFORE a b", "LLEN l", "LMOVE a b LEFT RIGHT",
    "LMPOP 1 a LEFT", "LMPOP 2 a b RIGHT COUNT 3", "LPOP l", "LPOP l 2", "LPOS l a", "LPOS l a RANK 1 COUNT 0", "LPUSH l a",
    "LPUSH l a b", "LPUSHX l a", "LRANGE l 0 -1", "LREM l 0 a", "LSET l 0 a", "LTRIM l 0 1", "RPOP l", "RPOP l 2",
    "RPOPLPUSH a b", "RPUSH l a", "RPUSHX l a b",
    // Sets
    "SADD s a", "SADD s a b", "SCARD s", "SDIFF a", "SDIFF a b c", "SDIFFSTORE d a", "SDIFFSTORE d a b", "SINTER a b",
    "SINTERCARD 1 a", "SINTERCARD 2 a b LIMIT 10", "SINTERSTORE d a", "SINTERSTORE d a b", "SISMEMBER s a", "SMEMBERS s",
    "SMISMEMBER s a b", "SMOVE a b m", "SPOP s", "SPOP s 2", "SRANDMEMBER s", "SRANDMEMBER s -2", "SREM s a b", "SSCAN s 0",
    "SUNION a b", "SUNIONSTORE d a b c",
    // Sorted sets
    "BZMPOP 0 1 a MIN", "BZMPOP 0 2 a b MAX COUNT 2", "BZPOPMAX a 0", "BZPOPMAX a b 0", "BZPOPMIN a 0", "BZPOPMIN a b c 0",
    "ZADD z 1 a", "ZADD z XX CH 1 a 2 b", "ZADD z INCR 1 a", "ZCARD z", "ZCOUNT z 0 1", "ZDIFF 1 a", "ZDIFF 2 a b WITHSCORES",
    "ZDIFFSTORE d 1 a", "ZDIFFSTORE d 2 a b", "ZINCRBY z 1 a", "ZINTER 2 a b", "ZINTER 2 a b WEIGHTS 1 2 AGGREGATE MAX",
    "ZINTERCARD 2 a b", "ZINTERCARD 1 a LIMIT 5", "ZINTERSTORE d 1 a", "ZINTERSTORE d 2 a b WEIGHTS 1 2", "ZLEXCOUNT z - +",
    "ZMPOP 1 a MIN", "ZMPOP 2 a b MAX COUNT 2", "ZMSCORE z a b", "ZPOPMAX z", "ZPOPMAX z 2", "ZPOPMIN z", "ZPOPMIN z 2",
    "ZRANDMEMBER z", "ZRANDMEMBER z 2 WITHSCORES", "ZRANGE z 0 -1", "ZRANGE z 0 1 BYSCORE REV LIMIT 0 1 WITHSCORES",
    "ZRANGEBYLEX z - +", "ZRANGEBYSCORE z 0 1 WITHSCORES LIMIT 0 1", "ZRANGESTORE d z 0 -1", "ZRANGESTORE d z 0 1 BYSCORE",
    "ZRANK z a", "ZREM z a", "ZREM z a b", "ZREMRANGEBYLEX z - +", "ZREMRANGEBYRANK z 0 1", "ZREMRANGEBYSCORE z 0 1",
    "ZREVRANGE z 0 -1", "ZREVRANGE z 0 -1 WITHSCORES", "ZREVRANGEBYLEX z + -", "ZREVRANGEBYSCORE z 1 0", "ZREVRANK z a",
    "ZSCAN z 0", "ZSCORE z a", "ZUNION 2 a b", "ZUNION 3 a b c WEIGHTS 1 1 1", "ZUNIONSTORE d 2 a b", "ZUNIONSTORE d 1 a AGGREGATE MIN",
    // Places
    "GEOADD g 1 1 a", "GEOADD g NX CH 1 1 a 2 2 b", "GEODIST g a b", "GEODIST g a b km", "GEOHASH g a", "GEOPOS g a b",
    "GEORADIUS g 1 1 10 km", "GEORADIUS g 1 1 10 km STORE d", "GEORADIUS g 1 1 10 km COUNT 2 ASC STOREDIST d",
    "GEORADIUS g 1 1 10 km COUNT 3 ANY store d", "GEORADIUS_RO g 1 1 10 km", "GEORADIUSBYMEMBER g a 10 km",
    "GEORADIUSBYMEMBER g a 10 km STORE d", "GEORADIUSBYMEMBER g a 10 km DESC STOREDIST d", "GEORADIUSBYMEMBER g STORE 10 km STORE d",
    "GEORADIUSBYMEMBER_RO g a 10 km", "GEOSEARCH g FROMMEMBER a BYRADIUS 10 km", "GEOSEARCHSTORE d g FROMMEMBER a BYRADIUS 10 km",
    "GEOSEARCHSTORE d g FROMLONLAT 1 1 BYBOX 1 1 km STOREDIST",
    // Streams
    "XACK s g 1-1", "XACK s g 1-1 2-2", "XADD s * f v", "XADD s NOMKSTREAM MAXLEN ~ 10 * f v g w", "XAUTOCLAIM s g c 0 0",
    "XAUTOCLAIM s g c 0 0 COUNT 5 JUSTID", "XCLAIM s g c 0 1-1", "XCLAIM s g c 0 1-1 2-2 IDLE 5 FORCE JUSTID", "XDEL s 1-1",
    "XDEL s 1-1 2-2", "XGROUP CREATE s g $", "XGROUP CREATE s g $ MKSTREAM", "XGROUP CREATECONSUMER s g c",
    "XGROUP DELCONSUMER s g c", "XGROUP DESTROY s g", "XGROUP SETID s g 0", "xgroup setid s g 0 ENTRIESREAD 1", "XINFO CONSUMERS s g",
    "XINFO GROUPS s", "XINFO STREAM s", "XINFO STREAM s FULL COUNT 1", "XLEN s", "XPENDING s g", "XPENDING s g IDLE 1 - + 10 c",
    "XRANGE s - +", "XRANGE s - + COUNT 1", "XREAD STREAMS s 0", "XREAD COUNT 2 STREAMS s t 0 0", "XREAD BLOCK 5 COUNT 1 STREAMS a b c 0 0 0",
    "xread streams streams 0", "XREAD STREAMS a STREAMS 0 0", "XREADGROUP GROUP g c STREAMS s >", "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS s t > >",
    "XREADGROUP GROUP STREAMS c BLOCK 1 STREAMS s >", "XREADGROUP GROUP g STREAMS COUNT 1 STREAMS s >", "XREVRANGE s + -", "XSETID s 1-1",
    "XSETID s 1-1 ENTRIESADDED 5 MAXDELETEDID 0-1", "XTRIM s MAXLEN 5", "XTRIM s MINID ~ 1 LIMIT 10",
    "XACKDEL s g IDS 1 1-1", "XACKDEL s g KEEPREF IDS 2 1-1 2-2", "XDELEX s IDS 1 1-1", "XDELEX s ACKED IDS 2 1-1 2-2",
    // Vector sets
    "VADD v VALUES 2 1 0 e", "VADD v VALUES 2 1 1 g SETATTR {}", "VCARD v", "VDIM v", "VEMB v e", "VGETATTR v e", "VINFO v",
    "VISMEMBER v e", "VLINKS v e", "VRANDMEMBER v", "VREM v e", "VSETATTR v e {}", "VSIM v ELE e", "VSIM v VALUES 2 1 0 COUNT 5",
    // Documents
    "JSON.SET k $ {\"f\":1}", "JSON.SET k $ 1 NX", "JSON.SET k $.f [1,2,3] XX", "JSON.SET k .f \"x\"", "JSON.SET k $ {", "JSON.MSET a $ 1 b $ {}",
    "JSON.MERGE k $ {\"g\":null}", "JSON.GET k", "JSON.GET k $.f", "JSON.GET k INDENT x $.f", "JSON.MGET a b $", "JSON.MGET a b c $.f", "JSON.TYPE k $.f",
    "JSON.DEL k", "JSON.DEL k $.f", "JSON.FORGET k $.f", "JSON.CLEAR k $", "JSON.TOGGLE k $.g", "JSON.NUMINCRBY k $.f 2", "JSON.NUMMULTBY k $.f 1.5",
    "JSON.NUMPOWBY k $.f 2", "JSON.STRAPPEND k $.s \"x\"", "JSON.STRLEN k $.s", "JSON.ARRAPPEND k $.l 1 2", "JSON.ARRINDEX k $.l 2", "JSON.ARRINSERT k $.l 0 5",
    "JSON.ARRLEN k $.l", "JSON.ARRPOP k $.l", "JSON.ARRTRIM k $.l 0 1", "JSON.OBJKEYS k $", "JSON.OBJLEN k $", "JSON.RESP k", "JSON.DEBUG MEMORY k", "JSON.DEBUG HELP",
    // Scripts
    "EVAL x 1 k", "EVAL x 2 a b c d", "EVALSHA x 1 k v", "EVAL_RO x 3 a b c", "EVALSHA_RO x 1 k", "FCALL f 1 k", "FCALL f 2 a b c",
    "FCALL_RO f 1 k x", "EVAL x 0", "EVAL x 0 a b", "EVALSHA x 0", "FCALL f 0", "FCALL_RO f 0 a",
    // Malformed, so that what is found is all there is to compare
    "MSET a 1 b", "ZUNION 3 a b", "ZUNION 0 a", "ZUNION x a", "EVAL x -1 k", "EVAL x 2 a", "LMPOP 5 a LEFT", "XREAD COUNT 1 STREAMS s",
    "SINTERCARD 9223372036854775807 a", "GEORADIUS g 1 1 10 km STORE", "MIGRATE h 1 k 0 100 COPY KEYS a b",
    // Without keys
    "PING", "INFO", "FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 0 1", "KEYS *", "SCAN 0 MATCH x", "RANDOMKEY", "DBSIZE", "TIME", "ECHO x",
    "PUBLISH c m", "SPUBLISH c m", "SUBSCRIBE c d", "SSUBSCRIBE c", "SUNSUBSCRIBE c", "CONFIG GET maxmemory", "CLIENT ID",
    "CLIENT SETNAME x", "SELECT 1", "WAIT 1 1", "SCRIPT LOAD x", "FUNCTION DELETE x", "CLUSTER KEYSLOT k", "LOLWUT", "OBJECT HELP",
    "XINFO HELP", "XGROUP HELP", "MEMORY STATS", "MULTI", "EXEC", "DISCARD", "UNWATCH", "RESET", "QUIT", "HELLO 3", "AUTH x",
];
