//! Recognises the client library, and says how it shows respguard's errors to an application; docs/errors.md has more.

use respguard_resp::request::Args;

/// By the beginning of what libraries tell in CLIENT SETINFO LIB-NAME: how errors come, and what else its users should know.
const LIBRARIES: &[(&str, &str)] = &[
    (
        "redis-py",
        "an error of a group is a ResponseError (EXECABORT: ExecAbortError) in the place of each member with execute(raise_on_error=False), else the first is raised; commands of asyncio.gather go over several connections and are no group",
    ),
    (
        "node-redis",
        "an error of a group rejects the promise of each member with an ErrorReply whose message begins with the word; Promise.allSettled shows all",
    ),
    ("ioredis", "an error of a group is the first of each pair that exec() gives; single commands reject with a ReplyError"),
    ("go-redis", "an error of a group is the Err() of each command; Exec gives the first"),
    (
        "jedis",
        "an error of a group is a JedisDataException from each Response.get(); pipelines above 8 KiB leave in several writes",
    ),
    (
        "lettuce",
        "an error of a group is a RedisCommandExecutionException of each future; commands leave one by one unless flushCommands() sends them together",
    ),
    ("se.redis", "an error of a group is a RedisServerException of each task; only a batch or a transaction leaves in one piece"),
    (
        "stackexchange.redis",
        "an error of a group is a RedisServerException of each task; only a batch or a transaction leaves in one piece",
    ),
    ("redis-rs", "an error of a group is in into_server_errors() of the pipeline's error, each with its place"),
    ("fred", "an error of a group is the pipeline's error; a pipeline leaves in two writes or more, and is held for its rest"),
];

/// The name that a client gives its library, if this is where it does.
pub(super) fn named<'a>(command: &str, args: Args<'a>) -> Option<&'a str> {
    let is_name = command == "client|setinfo" && args.get(2)?.eq_ignore_ascii_case(b"lib-name");
    is_name.then(|| args.get(3).and_then(|name| std::str::from_utf8(name).ok()))?.filter(|name| !name.is_empty())
}

/// What its users see, where it is known.
pub(super) fn shows(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    LIBRARIES.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, shows)| *shows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_the_beginning_of_their_name() {
        for name in
            ["redis-py", "redis-py(something_v1)", "go-redis(,go1.27.3)", "Lettuce", "jedis(spring-data-redis_v4)", "SE.Redis"]
        {
            assert!(shows(name).is_some_and(|shows| shows.starts_with("an error of a group")), "{name}");
        }
        assert_eq!(shows("my-own"), None);
    }

    #[test]
    fn each_is_in_the_page_about_errors() {
        let page = include_str!("../../docs/errors.md").to_lowercase();
        for (name, _) in LIBRARIES.iter().filter(|(name, _)| !matches!(*name, "se.redis" | "fred")) {
            assert!(page.contains(name), "{name}");
        }
    }
}
