//! Commands of Redis that are not here, and why: the error of an unknown command says it.

/// What the error of an unknown command ends with; empty for a name that Redis does not know either.
pub(super) fn clause_of(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let is_in = |list: &[&str]| list.contains(&&name[..]);
    match () {
        () if is_in(OTHER_TYPES) => "(sealkv holds strings only, COMMAND LIST shows what it has)",
        () if is_in(SCRIPTS) => "(sealkv runs no scripts; SET with IFEQ and DELIFEQ make locks without them)",
        () if is_in(CHANNELS) => "(sealkv has no pub/sub)",
        () if is_in(REPLICAS) => "(members of a cluster are no replicas of a Redis)",
        () => OTHERS.iter().find(|(other, _)| *other == name).map_or("", |(_, clause)| clause),
    }
}

/// Of lists, hashes, sets, sorted sets, streams, and what is made of them.
#[rustfmt::skip]
const OTHER_TYPES: &[&str] = &[
    "blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin", "geoadd", "geodist",
    "geohash", "geopos", "georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "geosearch",
    "geosearchstore", "hdel", "hexists", "hget", "hgetall", "hincrby", "hincrbyfloat", "hkeys", "hlen", "hmget",
    "hmset", "hrandfield", "hscan", "hset", "hsetnx", "hstrlen", "hvals", "lindex", "linsert", "llen", "lmove",
    "lmpop", "lpop", "lpos", "lpush", "lpushx", "lrange", "lrem", "lset", "ltrim", "pfadd", "pfcount", "pfdebug",
    "pfmerge", "pfselftest", "rpop", "rpoplpush", "rpush", "rpushx", "sadd", "scard", "sdiff", "sdiffstore",
    "sinter", "sintercard", "sinterstore", "sismember", "smembers", "smismember", "smove", "sort", "sort_ro",
    "spop", "srandmember", "srem", "sscan", "sunion", "sunionstore", "xack", "xadd", "xautoclaim", "xclaim",
    "xdel", "xgroup", "xinfo", "xlen", "xpending", "xrange", "xread", "xreadgroup", "xrevrange", "xsetid",
    "xtrim", "zadd", "zcard", "zcount", "zdiff", "zdiffstore", "zincrby", "zinter", "zintercard", "zinterstore",
    "zlexcount", "zmpop", "zmscore", "zpopmax", "zpopmin", "zrandmember", "zrange", "zrangebylex",
    "zrangebyscore", "zrangestore", "zrank", "zrem", "zremrangebylex", "zremrangebyrank", "zremrangebyscore",
    "zrevrange", "zrevrangebylex", "zrevrangebyscore", "zrevrank", "zscan", "zscore", "zunion", "zunionstore",
];

/// Of scripts and functions.
#[rustfmt::skip]
const SCRIPTS: &[&str] = &[
    "eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro", "script",
];

/// Of pub/sub.
#[rustfmt::skip]
const CHANNELS: &[&str] = &[
    "psubscribe", "publish", "pubsub", "punsubscribe", "spublish", "ssubscribe", "subscribe", "sunsubscribe",
    "unsubscribe",
];

/// Of a master and its replicas.
#[rustfmt::skip]
const REPLICAS: &[&str] = &[
    "failover", "psync", "replconf", "replicaof", "slaveof", "sync",
];

/// Each with a reason of its own.
const OTHERS: &[(&str, &str)] = &[
    ("bgrewriteaof", "(the log gives its space back by itself)"),
    ("debug", "(there is nothing to debug with on a node that holds data)"),
    ("migrate", "(use DUMP here and RESTORE there)"),
    ("monitor", "(nobody may watch the commands of others)"),
    ("swapdb", "(a row is sealed under its database: every row would be written anew)"),
    ("waitaof", "(what is acknowledged is durable)"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::commands::find;

    #[test]
    fn no_command_is_both_here_and_missing() {
        let others = OTHERS.iter().map(|(name, _)| name);
        for name in [OTHER_TYPES, SCRIPTS, CHANNELS, REPLICAS].into_iter().flatten().chain(others) {
            assert!(find(name.as_bytes()).is_none(), "{name}");
            assert!(!clause_of(&name.to_ascii_uppercase()).is_empty(), "{name}");
        }
        assert_eq!(clause_of("nosuch"), "");
    }
}
