//! Reads `[rest]`: who may send requests over HTTP, and how they are protected.

use std::collections::BTreeMap;

use crate::net::address::Address;

use super::credential::Sources;
use super::section::{Findings, Section};
use super::{Admin, Listen, Rest, RestToken, Upstream, security, values};

const BODY_BYTES_MAX: u64 = 512 * 1024 * 1024;
const CONNECTIONS_MAX: u64 = 1_000_000;

/// What the table says, if there is one.
pub(super) fn read(section: (Section<'_>, bool), sources: &Sources<'_>, findings: &mut Findings) -> Option<Rest> {
    let (mut section, is_there) = section;
    let defaults = Rest::default();
    let body_bytes_max = section.number("body_bytes_max", 1024..=BODY_BYTES_MAX, defaults.body_bytes_max, findings);
    let connections_max = section.number("connections_max", 1..=CONNECTIONS_MAX, defaults.connections_max, findings);
    let rest = Rest {
        address: values::address(&mut section, findings).unwrap_or(defaults.address),
        tokens: tokens(&mut section, sources, findings),
        body_bytes_max,
        connections_max,
        tls: security::listen_tls(&mut section, sources, findings),
        cors: cors(&mut section, findings),
        access_log: section.truth("access_log", defaults.access_log, findings),
    };
    section.end(findings);
    is_there.then_some(rest)
}

fn tokens(section: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> BTreeMap<String, RestToken> {
    let mut tokens: BTreeMap<String, RestToken> = BTreeMap::new();
    for (name, mut token) in section.named_sections("tokens", findings) {
        let path = token.path().to_owned();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            findings.add(&path, format!("{name:?} is no token's name"), "a name of letters and digits without spaces");
        }
        let secret = sources.secret(&mut token, ["token_env", "token_file"], findings);
        let read_only = token.truth("read_only", false, findings);
        let credentials = sources.upstream(&mut token, findings);
        token.end(findings);
        let Some(secret) = secret else {
            if !findings.covers(&path) {
                findings.add(&path, "there is a token without its text", "token_env or token_file");
            }
            continue;
        };
        Sources::check_token(&path, &secret, findings);
        if let Some((other, _)) = tokens.iter().find(|(_, known)| known.secret == secret) {
            findings.add(&path, format!("this is the token of {other:?} too"), "a token of its own for each entry");
        }
        tokens.insert(name, RestToken { secret, read_only, credentials });
    }
    tokens
}

fn cors(section: &mut Section<'_>, findings: &mut Findings) -> Vec<String> {
    let origins = section.texts("cors", findings).unwrap_or_default();
    for (place, origin) in origins.iter().enumerate() {
        let host = ["http://", "https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
        let is_origin = origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*']));
        if !is_origin && !findings.covers(&section.path_of("cors")) {
            let path = format!("{}[{place}]", section.path_of("cors"));
            findings.add(&path, format!("{origin:?} is no origin"), "such as \"https://app.example\", or \"*\"");
        }
    }
    origins
}

/// Refuses what the parts mean together.
pub(super) fn check(rest: &Rest, listen: &Listen, admin: &Admin, upstream: &Upstream, findings: &mut Findings) {
    let path = if findings.has_place("rest.address") { "rest.address" } else { "rest" };
    if rest.tokens.is_empty() && !rest.address.is_loopback() {
        findings.add(
            path,
            format!("without tokens, {} would be open to everybody who reaches it", rest.address),
            "`tokens`, a loopback address or a unix socket",
        );
    } else if rest.tokens.is_empty() && !listen.users.is_empty() {
        findings.add(path, "without tokens it would be a way around `[listen] users`", "`tokens`");
    }
    if rest.tokens.is_empty() && !rest.cors.is_empty() {
        findings.add("rest.cors", "without tokens pages of other sites are never let in", "`tokens`, or no `cors`");
    }
    if rest.tls.is_some() && matches!(rest.address, Address::Unix(_)) {
        findings.add("rest.tls", "a unix socket has no TLS: nobody but this machine can listen in", "host:port, or no `tls`");
    }
    let chosen_by_system = matches!(rest.address, Address::Tcp { port: 0, .. });
    let servers = upstream.topology.addresses().iter().map(|address| (address, "the server is"));
    for (other, what) in [(&listen.address, "clients connect"), (&admin.address, "operators connect")].into_iter().chain(servers)
    {
        if rest.address == *other && !chosen_by_system {
            findings.add(path, format!("this is where {what}"), "an address of its own");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::config::{Config, read};
    use respguard_engine::command::Table;

    fn config(text: &str) -> Result<Config, String> {
        let environment = |name: &str| match name {
            "ONE" => Some("first-token".to_owned()),
            "TWO" => Some("second-token".to_owned()),
            "SPACED" => Some("a b".to_owned()),
            "PASSWORD" => Some("hunter2".to_owned()),
            _ => None,
        };
        let file: PathBuf = Path::new("f.toml").into();
        read(text, &file, &Table::builtin(), &environment).map_err(|errors| errors.to_string())
    }

    #[test]
    fn without_the_table_there_is_no_front_and_with_it_there_is_one() {
        assert_eq!(config("").expect("nothing").rest, None);
        let rest = config("[rest]\n").expect("an empty table").rest.expect("a front");
        assert_eq!((rest.address.to_string().as_str(), rest.body_bytes_max), ("127.0.0.1:8079", 10_485_760));
    }

    #[test]
    fn tokens_have_names_texts_and_perhaps_users() {
        let text = "[rest]\naddress = \"0.0.0.0:1\"\ntokens = { app = { token_env = \"ONE\", username = \"u\", password_env = \
                    \"PASSWORD\" }, reader = { token_env = \"TWO\", read_only = true } }\n";
        let rest = config(text).expect("two tokens").rest.expect("a front");
        let app = &rest.tokens["app"];
        assert!(app.secret.expose() == "first-token" && !app.read_only && rest.tokens["reader"].read_only);
        assert_eq!(app.credentials.as_ref().and_then(|login| login.username.as_deref()), Some("u"));
        let printed = format!("{rest:?}");
        assert!(!printed.contains("first-token") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn what_would_protect_nothing_is_refused() {
        for (text, wanted) in [
            ("address = \"0.0.0.0:1\"", "rest.address: without tokens, 0.0.0.0:1 would be open"),
            ("tokens = { a = { token_env = \"ONE\" }, b = { token_env = \"ONE\" } }", "this is the token of \"a\" too"),
            ("tokens = { a = {} }", "a token without its text (expected token_env or token_file)"),
            ("tokens = { a = { token_env = \"NONE\" } }", "is not set"),
            ("tokens = { a = { token_env = \"SPACED\" } }", "no HTTP header can carry"),
            ("tokens = { a = { token_env = \"ONE\", username = \"u\" } }", "a user without a password"),
            ("tokens = { a = { token = \"x\" } }", "the key is unknown"),
            ("tokens = { \"a b\" = { token_env = \"ONE\" } }", "is no token's name"),
            ("cors = [\"*\"]", "rest.cors: without tokens"),
            ("tokens = { a = { token_env = \"ONE\" } }\ncors = [\"app.example\"]", "is no origin"),
            ("address = \"127.0.0.1:6380\"", "this is where clients connect"),
            ("address = \"127.0.0.1:9121\"", "this is where operators connect"),
            ("address = \"unix:/run/rest\"\ntls = { cert = \"a\", key = \"b\" }", "a unix socket has no TLS"),
            ("[listen]\nusers = { app = { password_env = \"PASSWORD\" } }", "a way around `[listen] users`"),
        ] {
            let refusal = config(&format!("[rest]\n{text}\n")).expect_err(text);
            assert!(refusal.contains(wanted) && !refusal.contains("first-token"), "{refusal}");
        }
    }
}
