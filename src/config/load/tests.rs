//! Tests of `load`.

use super::*;

fn environment(variable: &str) -> Option<String> {
    match variable {
        "PASSWORD" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        "LINE" => Some("a-token\n".to_owned()),
        _ => None,
    }
}

fn config(text: &str) -> Config {
    read(text, Path::new("f.toml"), &Table::builtin(), &environment).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors, one line each.
fn refusal(text: &str) -> String {
    read(text, Path::new("f.toml"), &Table::builtin(), &environment).err().unwrap().to_string()
}

#[test]
fn every_key_reaches_the_configuration() {
    let config = config(concat!(
        "mode = \"observe\"\nworkers = 256\n",
        "[listen]\naddress = \"unix:/run/s\"\nclients_max = 1\nbuffered_bytes_max = 1048576\n",
        "[upstream]\naddress = \"[::1]:1\"\nsharing = \"never\"\nconnect_timeout_ms = 1\nrequest_timeout_ms = 2\nslow_timeout_ms = 5\n",
        "stall_timeout_ms = 3\nqueue_timeout_ms = 4\nusername = \"u\"\npassword_env = \"PASSWORD\"\n",
        "heartbeat_ms = 5\nheartbeat_timeout_ms = 6\nleases_max = 7\nconnections_max = 9\n",
        "[breaker]\nfailure_ratio = 1.0\nthroughput_min = 8\nsampling_ms = 9\nbreak_ms = 10\n",
        "[admin]\naddress = \"0.0.0.0:0\"\ntoken_env = \"PASSWORD\"\n",
        "[pipeline]\nreport = false\nhold_ms = 0\nhold_max_ms = 0\ndrain_timeout_ms = 0x10\n",
    ));
    assert_eq!(config.policy.mode, respguard_engine::policy::Mode::Observe);
    assert_eq!((config.workers, config.listen.clients_max), (256, 1));
    assert_eq!(config.listen.address.to_string(), "unix:/run/s");
    let upstream = &config.upstream;
    assert_eq!((upstream.topology.to_string(), upstream.sharing), ("[::1]:1".to_owned(), Sharing::Never));
    let timeouts = [upstream.connect_timeout, upstream.request_timeout, upstream.stall_timeout, upstream.queue_timeout];
    assert_eq!(timeouts.map(|timeout| timeout.as_millis()), [1, 2, 3, 4]);
    assert_eq!(upstream.slow_timeout.as_millis(), 5);
    assert_eq!([upstream.heartbeat, upstream.heartbeat_timeout].map(|timeout| timeout.as_millis()), [5, 6]);
    assert_eq!((upstream.leases_max, upstream.connections_max, config.listen.buffered_bytes_max), (7, 9, 1_048_576));
    let breaker = config.breaker.unwrap();
    assert_eq!((breaker.failure_ratio, breaker.throughput_min), (1.0, 8));
    assert_eq!([breaker.sampling, breaker.longest_break].map(|time| time.as_millis()), [9, 10]);
    let credentials = upstream.credentials.as_ref().unwrap();
    assert_eq!((credentials.username.as_deref(), credentials.password.expose()), (Some("u"), "hunter2"));
    assert_eq!(config.admin.token.as_ref().unwrap().expose(), "hunter2");
    assert!(!config.policy.report_pipelines && config.policy.hold.gap.is_zero());
    assert_eq!(config.drain_timeout.as_millis(), 16);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn an_error_names_file_line_column_key_and_what_was_expected() {
    assert_eq!(
        refusal("\n[listen]\nclients_max = 0\n"),
        "f.toml:3:15: listen.clients_max: 0 is out of range (expected a whole number from 1 to 1000000)"
    );
    assert_eq!(
        refusal("[listen]\n  adress = \"127.0.0.1:1\"\n"),
        "f.toml:2:3: listen.adress: the key is unknown (expected perhaps `address`)"
    );
    assert_eq!(refusal("mode = \"off\"\n"), "f.toml:1:8: mode: \"off\" is not known here (expected \"enforce\" or \"observe\")");
    assert_eq!(refusal("workers = \"2\"\n"), "f.toml:1:11: workers: this is a string (expected a whole number from 0 to 256)");
}

#[test]
fn an_error_in_a_rule_has_the_line_of_the_very_member() {
    let text = concat!(
        "[[group]]\nname = \"a\"\ncommands = [\"SET a *\", \"SET b *\"]\n",
        "[[group]]\nname = \"b\"\ncommands = [\n  \"SET a *\",\n  { match = \"SETXE b\", optional = true },\n]\n",
    );
    let refusal = refusal(text);
    assert!(refusal.starts_with("f.toml:8:3: group[1].commands[1]: \"SETXE\" is not a known command"), "{refusal}");
}

#[test]
fn what_is_missing_has_the_line_of_its_table() {
    let refusal = refusal("workers = 1\n[[group]]\ncommands = [\"SET a *\", \"SET b *\"]\n");
    assert_eq!(refusal, "f.toml:2:1: group[0].name: the key is missing (expected a string)");
}

#[test]
fn errors_are_reported_together_in_the_order_of_the_file() {
    let text = "workers = 999\nmood = 1\n[listen]\naddress = \"x\"\n[[group]]\nname = \"A\"\nkeys = [1]\n[[ttl]]\n";
    let refusal = refusal(text);
    let starts = ["f.toml:1:11: workers:", "f.toml:2:1: mood:", "f.toml:4:11: listen.address:"];
    let rules = ["f.toml:6:8: group[0].name:", "f.toml:7:9: group[0].keys[0]:", "f.toml:8:1: ttl[0].name:"];
    let lines: Vec<&str> = refusal.lines().collect();
    for (line, start) in lines.iter().zip(starts.iter().chain(&rules)) {
        assert!(line.starts_with(start), "{line} begins with {start}");
    }
    assert_eq!(lines.len(), 7, "{refusal}");
}

#[test]
fn wrong_types_are_refused_everywhere() {
    let texts = [
        "mode = 1",
        "workers = true",
        "workers = 1.5",
        "workers = -1",
        "listen = 1",
        "[[listen]]",
        "listen.address = 1",
        "group = 1",
        "[group]",
        "group = [1]",
        "[pipeline]\nreport = \"yes\"",
        "[[group]]\nname = 1\nkeys = [\"a\"]",
        "[[group]]\nname = \"a\"\ncommands = \"SET\"",
        "[[group]]\nname = \"a\"\ncommands = [\"SET a *\", 1]",
        "[[ttl]]\nname = \"a\"\nkeys = \"a\"",
        "[[ttl]]\nname = \"a\"\nkeys = [\"a\"]\nmax = 5",
        "expect = 1",
        "[[group]]\nname = \"a\"\ncommands = [\"SET a *\", { match = \"SET b *\", optional = 1 }]",
    ];
    for text in texts {
        assert_eq!(refusal(text).lines().count(), 1, "{text}: {}", refusal(text));
    }
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    assert!(refusal("workers = 1\n[listen\n").starts_with("f.toml:2:"));
    assert!(refusal("workers = 1\nworkers = 2\n").starts_with("f.toml:2:"));
}

#[test]
fn numbers_at_the_edges_of_their_ranges_fit() {
    for key in ["connect_timeout_ms", "request_timeout_ms", "slow_timeout_ms", "stall_timeout_ms", "queue_timeout_ms"] {
        let with = |value: &str| format!("[upstream]\n{key} = {value}\n");
        config(&with("1"));
        config(&with("3_600_000"));
        refusal(&with("0"));
        refusal(&with("3600001"));
    }
    config("workers = 256");
    refusal("workers = 257");
    config("[pipeline]\ndrain_timeout_ms = 1");
    refusal("[pipeline]\ndrain_timeout_ms = 0");
    refusal("workers = 99999999999999999999999999");
}

#[test]
fn a_degrade_rule_that_cannot_work_is_refused() {
    let rule = |keys: &str| format!("[[degrade]]\nname = \"d\"\n{keys}\n");
    config(&rule("keys = [\"a:*\"]\nreads = \"nil\""));
    config(&rule("keys = [\"a:*\"]\nwrites = \"ok\""));
    assert!(refusal(&rule("keys = [\"a:*\"]")).contains("degrade[0]: the rule changes nothing"));
    assert!(refusal(&rule("keys = [\"a:*\"]\nreads = \"error\"\nwrites = \"error\"")).contains("changes nothing"));
    assert!(refusal(&rule("keys = []\nreads = \"nil\"")).contains("degrade[0].keys"));
    assert!(refusal(&rule("keys = [\"a:{x}\"]\nreads = \"nil\"")).contains("no captures"));
    assert!(refusal(&rule("keys = [\"a\"]\nreads = \"empty\"")).contains("degrade[0].reads"));
    assert!(refusal(&rule("keys = [\"a\"]\nwrites = \"nil\"")).contains("degrade[0].writes"));
    let never = format!("[upstream]\nsharing = \"never\"\n{}", rule("keys = [\"a\"]\nreads = \"nil\""));
    assert!(refusal(&never).contains("sharing"));
}

#[test]
fn a_ratio_is_above_0_and_at_most_1() {
    let with = |value: &str| format!("[breaker]\nfailure_ratio = {value}\n");
    for good in ["0.001", "1.0", "1"] {
        config(&with(good));
    }
    for bad in ["0", "0.0", "-0.5", "1.01", "nan", "inf", "\"0.5\""] {
        assert!(refusal(&with(bad)).contains("breaker.failure_ratio"), "{bad}");
    }
    assert_eq!(config("[breaker]\nenabled = false\n").breaker, None);
}

#[test]
fn credentials_that_are_not_there_are_refused_by_name() {
    let upstream = |keys: &str| refusal(&format!("[upstream]\n{keys}\n"));
    assert!(upstream("password_env = \"NOWHERE\"").contains("\"NOWHERE\" is not set"));
    assert!(upstream("password_env = \"EMPTY\"").contains("\"EMPTY\" is empty"));
    assert!(upstream("password_file = \"/no/such/file\"").contains("/no/such/file cannot be read"));
    assert!(upstream("username = \"u\"").contains("a user without a password"));
    assert!(refusal("[admin]\ntoken_env = \"NOWHERE\"").contains("admin.token_env"));
    let unusable = refusal("[admin]\ntoken_env = \"LINE\"");
    assert!(
        unusable.contains("f.toml:2:13: admin.token_env: a token has characters that no HTTP header can carry"),
        "{unusable}"
    );
}

#[test]
fn a_password_file_lies_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, "[upstream]\npassword_file = \"password\"\n").unwrap();
    let config = load(&file, &Table::builtin()).unwrap().config;
    assert_eq!(config.upstream.credentials.unwrap().password.expose(), "hunter2");
    std::fs::write(&file, "[upstream]\npassword_file = \"password\"\npassword_env = \"PATH\"\n").unwrap();
    let both = load(&file, &Table::builtin()).unwrap_err().to_string();
    assert!(both.contains("both password_env and password_file"), "{both}");
    let missing = load(&folder.path().join("none"), &Table::builtin()).unwrap_err().to_string();
    assert!(missing.contains("the file cannot be read"), "{missing}");
}

#[test]
fn static_credentials_are_used_only_for_clients_on_this_machine() {
    let text = |address: &str| format!("[upstream]\npassword_env = \"PASSWORD\"\n[listen]\naddress = \"{address}\"\n");
    for address in ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/s"] {
        config(&text(address));
    }
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "redis.example:1"] {
        let refusal = refusal(&text(address));
        assert!(refusal.starts_with("f.toml:4:11: listen.address:") && refusal.contains("open relay"), "{refusal}");
    }
    config("[listen]\naddress = \"0.0.0.0:1\"\n");
}

#[test]
fn only_a_unix_socket_has_permissions_and_they_are_octal() {
    let text = |mode: &str| format!("[listen]\naddress = \"unix:/run/s\"\nunix_mode = {mode}\n");
    let mode = |mode: &str| config(&text(mode)).listen.unix_mode;
    assert_eq!((mode("\"0660\""), mode("\"600\""), mode("\"0777\"")), (Some(0o660), Some(0o600), Some(0o777)));
    for wrong in ["\"0888\"", "\"1777\"", "\"66\"", "\"00660\"", "\"+660\"", "\"rw-rw----\"", "660", "\"\""] {
        assert!(refusal(&text(wrong)).starts_with("f.toml:3:"), "{wrong}");
    }
    assert!(refusal("[listen]\nunix_mode = \"0660\"").contains("only a unix socket has permissions"));
}

#[test]
fn a_proxy_is_not_its_own_upstream() {
    assert!(refusal("[upstream]\naddress = \"127.0.0.1:6380\"").contains("where the proxy itself listens"));
    assert!(refusal("[upstream]\naddress = \"127.0.0.1:0\"").contains("port 0"));
    assert!(refusal("[admin]\naddress = \"127.0.0.1:6380\"").contains("where clients connect"));
    config("[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(\\[\\[?(group|ttl|listen|expect)\\]?\\]\n|(name|keys|commands|mode|match) = [\\[\\]{}\"a*1,\n]{0,9}\n|.{0,9}\n){0,6}") {
        let _ = read(&text, Path::new("f.toml"), &Table::builtin(), &environment);
    }
}

#[test]
fn sentinels_are_named_with_their_service_and_nothing_else() {
    let good = "[upstream]\nsentinels = [\"127.0.0.1:1\", \"[::1]:2\"]\nservice = \"m\"\n";
    let Topology::Sentinel(sentinel) = config(good).upstream.topology else { panic!("sentinels") };
    assert_eq!((sentinel.addresses.len(), &*sentinel.service), (2, "m"));
    for (text, wanted) in [
        ("sentinels = [\"127.0.0.1:1\"]", "upstream.service: the key is missing"),
        ("sentinels = []\nservice = \"m\"", "upstream.sentinels: there are 0 sentinels"),
        ("sentinels = [\"127.0.0.1:0\"]\nservice = \"m\"", "upstream.sentinels[0]: \"127.0.0.1:0\" is no address of a sentinel"),
        ("sentinels = [\"unix:/s\"]\nservice = \"m\"", "upstream.sentinels[0]"),
        ("sentinels = [\"x\"]\nservice = \"m\"", "upstream.sentinels[0]: \"x\" is no address"),
        ("sentinels = [\"127.0.0.1:1\"]\nservice = \"a b\"", "upstream.service: \"a b\" is no name"),
        ("address = \"127.0.0.1:2\"\nsentinels = [\"127.0.0.1:1\"]\nservice = \"m\"", "upstream.sentinels: there are both"),
        ("service = \"m\"", "upstream.service: there are no sentinels"),
        ("sentinels = [\"127.0.0.1:6380\"]\nservice = \"m\"", "upstream.sentinels: this is where the proxy itself listens"),
        (
            "sentinels = [\"127.0.0.1:1\"]\nservice = \"m\"\nsentinel_username = \"u\"",
            "upstream.sentinel_username: there is a user",
        ),
        ("probe = { username = \"u\" }", "upstream.probe.username: there is a user without a password"),
        ("probe = {}", "upstream.probe: there is no password"),
    ] {
        let said = refusal(&format!("[upstream]\n{text}\n"));
        assert!(said.contains(wanted), "{said}\n{wanted}");
    }
}

#[test]
fn a_cluster_is_named_by_its_nodes_and_what_is_not_done_there_is_refused() {
    let good =
        "[upstream]\ncluster = [\"127.0.0.1:1\", \"[::1]:2\"]\nannounce = \"proxy:7\"\nsplit_writes = true\ndatabases = true\n";
    let Topology::Cluster(cluster) = config(good).upstream.topology else { panic!("a cluster") };
    assert_eq!((cluster.seeds.len(), cluster.announce), (2, Some(("proxy".to_owned(), 7))));
    assert!(cluster.split_writes && cluster.databases);
    for (text, wanted) in [
        ("cluster = []", "upstream.cluster: there are 0 nodes"),
        ("cluster = [\"unix:/s\"]", "upstream.cluster[0]: \"unix:/s\" is no address of a node"),
        ("cluster = [\"127.0.0.1:1\"]\naddress = \"127.0.0.1:2\"", "upstream.cluster: there are both"),
        ("cluster = [\"127.0.0.1:1\"]\nsentinels = [\"127.0.0.1:2\"]\nservice = \"m\"", "upstream.cluster: there are both"),
        ("cluster = [\"127.0.0.1:6380\"]", "upstream.cluster: this is where the proxy itself listens"),
        ("databases = true", "upstream.databases: there is no cluster"),
        ("cluster = [\"127.0.0.1:1\"]\nannounce = \"proxy\"", "upstream.announce: \"proxy\" is no address"),
        ("announce = \"proxy:7\"", "upstream.announce: there is no cluster"),
        (
            "cluster = [\"127.0.0.1:1\"]\n[[group]]\nname = \"g\"\ncommands = [\"SET a *\", \"SET b *\"]",
            "group[0].commands[1]: b has slot 3300, a of member 1 slot 15495",
        ),
    ] {
        let said = refusal(&format!("[upstream]\n{text}\n"));
        assert!(said.contains(wanted), "{said}\n{wanted}");
    }
}
