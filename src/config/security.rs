//! Reads logins and TLS settings, and refuses settings that protect nothing.

use std::collections::BTreeMap;

use crate::net::address::Address;
use crate::net::tls::{Acceptor, ClientFiles, Connector, ServerFiles, TlsError};

use super::credential::Sources;
use super::secret::Secret;
use super::section::{Findings, Section};
use super::{Listen, Upstream};

/// Logins of the proxy's own.
pub(super) fn users(section: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> BTreeMap<String, Secret> {
    let mut users = BTreeMap::new();
    for (name, mut user) in section.named_sections("users", findings) {
        let path = user.path().to_owned();
        if name.is_empty() || name.bytes().any(|byte| byte == 0 || byte.is_ascii_whitespace()) {
            findings.add(&path, format!("{name:?} is no user's name"), "a name without spaces");
        }
        let password = sources.password(&mut user, findings);
        if password.is_none() && !findings.covers(&path) {
            findings.add(&path, "there is a user without a password", "password_env or password_file");
        }
        user.end(findings);
        users.extend(password.map(|password| (name, password)));
    }
    users
}

/// How clients are met.
pub(super) fn listen_tls(section: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Option<ServerFiles> {
    let (mut tls, is_there) = section.optional_section("tls", findings);
    let mut file = |key| tls.text(key, findings).map(|file| sources.folder.join(file));
    let (cert, key, client_ca) = (file("cert"), file("key"), file("client_ca"));
    let path = tls.path().to_owned();
    tls.end(findings);
    if !is_there {
        return None;
    }
    let (Some(cert), Some(key)) = (cert, key) else {
        if !findings.covers(&path) {
            findings.add(&path, "a certificate needs its key, and a key its certificate", "both `cert` and `key`");
        }
        return None;
    };
    let files = ServerFiles { cert, key, client_ca };
    note(&path, Acceptor::load(&files).err(), findings);
    Some(files)
}

/// How the server is met.
pub(super) fn upstream_tls(section: &mut Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Option<ClientFiles> {
    let (mut tls, is_there) = section.optional_section("tls", findings);
    let server_name = tls.text("server_name", findings);
    let mut file = |key| tls.text(key, findings).map(|file| sources.folder.join(file));
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let path = tls.path().to_owned();
    tls.end(findings);
    if !is_there {
        return None;
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            if !findings.covers(&path) {
                findings.add(
                    &path,
                    "a certificate needs its key, and a key its certificate",
                    "both `cert` and `key`, or neither",
                );
            }
            return None;
        }
    };
    let files = ClientFiles { ca, server_name, identity };
    // The name that the address gives is looked at by `check`, which knows the address.
    note(&path, Connector::load(&files, "localhost").err(), findings);
    Some(files)
}

fn note(path: &str, error: Option<TlsError>, findings: &mut Findings) {
    if let Some(TlsError { key, message, expected }) = error {
        findings.add(&format!("{path}.{key}"), message, expected);
    }
}

/// Refuses what the parts mean together.
pub(super) fn check(listen: &Listen, upstream: &Upstream, findings: &mut Findings) {
    refuse_open_relay(listen, upstream, findings);
    let upstreams = upstream.topology.address();
    let sides = [("listen", listen.tls.is_some(), Some(&listen.address)), ("upstream", upstream.tls.is_some(), upstreams)];
    for (side, tls, address) in sides {
        if tls && matches!(address, Some(Address::Unix(_))) {
            let path = format!("{side}.tls");
            findings.add(&path, "a unix socket has no TLS: nobody but this machine can listen in", "host:port, or no `tls`");
        }
    }
}

/// Whoever the proxy serves with its own credentials must have shown credentials, or be on this machine.
fn refuse_open_relay(listen: &Listen, upstream: &Upstream, findings: &mut Findings) {
    if upstream.credentials.is_some() && listen.users.is_empty() && !listen.address.is_loopback() {
        findings.add(
            "listen.address",
            format!("with static upstream credentials, {} would be an open relay", listen.address),
            "`[listen] users`, a loopback address or a unix socket; or no static credentials, so that clients send their own",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rcgen::{CertificateParams, KeyPair};

    use crate::config::{Config, load};
    use respguard_engine::command::Table;

    /// A folder with a certificate, its key, another key, and things that are neither.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let (key, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).and_then(|params| params.self_signed(&key));
        let files = [
            ("cert", certificate.expect("a certificate").pem()),
            ("key", key.serialize_pem()),
            ("other", other.serialize_pem()),
            ("text", "no PEM at all".to_owned()),
            ("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
            ("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned()),
            ("password", "hunter2\n".to_owned()),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        folder
    }

    fn read(text: &str, folder: &Path) -> Result<Config, String> {
        let file = folder.join("f.toml");
        std::fs::write(&file, text).expect("a file");
        load(&file, &Table::builtin()).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
    }

    #[test]
    fn files_lie_beside_the_configuration() {
        let folder = folder();
        let text = "[listen]\ntls = { cert = \"cert\", key = \"key\", client_ca = \"cert\" }\n[upstream]\n\
                    tls = { ca = \"cert\", server_name = \"redis.example\", cert = \"cert\", key = \"key\" }\n";
        let config = read(text, folder.path()).expect("good files");
        let listen = config.listen.tls.expect("TLS");
        assert_eq!((listen.cert, listen.client_ca), (folder.path().join("cert"), Some(folder.path().join("cert"))));
        let upstream = config.upstream.tls.expect("TLS");
        let identity: (PathBuf, PathBuf) = (folder.path().join("cert"), folder.path().join("key"));
        assert_eq!((upstream.identity, upstream.server_name.as_deref()), (Some(identity), Some("redis.example")));
    }

    #[test]
    fn a_file_that_is_no_good_is_refused_with_its_name_and_what_was_expected() {
        let folder = folder();
        for (section, tls, wanted) in [
            ("listen", "cert = \"none\", key = \"key\"", "listen.tls.cert: FOLDER/none cannot be read"),
            (
                "listen",
                "cert = \"text\", key = \"key\"",
                "listen.tls.cert: FOLDER/text holds no certificate (expected certificates",
            ),
            ("listen", "cert = \"broken\", key = \"key\"", "listen.tls.cert: FOLDER/broken"),
            (
                "listen",
                "cert = \"cert\", key = \"text\"",
                "listen.tls.key: FOLDER/text holds no private key (expected an unencrypted",
            ),
            (
                "listen",
                "cert = \"cert\", key = \"locked\"",
                "listen.tls.key: FOLDER/locked holds a key that a pass phrase protects",
            ),
            ("listen", "cert = \"cert\", key = \"other\"", "listen.tls.cert: FOLDER/cert and FOLDER/other: "),
            (
                "listen",
                "cert = \"cert\", key = \"key\", client_ca = \"key\"",
                "listen.tls.client_ca: FOLDER/key holds no certificate",
            ),
            ("listen", "cert = \"cert\"", "listen.tls: a certificate needs its key"),
            ("listen", "", "listen.tls: a certificate needs its key"),
            ("listen", "cert = \"cert\", key = \"key\", ca = \"cert\"", "listen.tls.ca: the key is unknown (expected"),
            ("listen", "cert = 1, key = \"key\"", "listen.tls.cert: this is an integer (expected a string)"),
            ("upstream", "ca = \"none\"", "upstream.tls.ca: FOLDER/none cannot be read"),
            ("upstream", "ca = \"cert\", cert = \"cert\"", "upstream.tls: a certificate needs its key"),
            ("upstream", "ca = \"cert\", cert = \"cert\", key = \"other\"", "upstream.tls.cert: FOLDER/cert and FOLDER/other: "),
            ("upstream", "ca = \"cert\", server_name = \"a b\"", "upstream.tls.server_name: \"a b\" is no name"),
        ] {
            let refusal = read(&format!("[{section}]\ntls = {{ {tls} }}\n"), folder.path()).expect_err(tls);
            let wanted = wanted.replace("FOLDER", &folder.path().display().to_string());
            assert!(refusal.contains(&wanted) && refusal.contains("f.toml:2:"), "{refusal}\n{wanted}");
            assert_eq!(refusal.lines().count(), 1, "{refusal}");
        }
    }

    #[test]
    fn tls_over_a_unix_socket_is_refused() {
        let folder = folder();
        let text = "[listen]\naddress = \"unix:/run/s\"\ntls = { cert = \"cert\", key = \"key\" }\n\
                    [upstream]\naddress = \"unix:/run/r\"\ntls = { ca = \"cert\" }\n";
        let refusal = read(text, folder.path()).expect_err("no TLS there");
        assert!(
            refusal.contains("listen.tls: a unix socket has no TLS") && refusal.contains("upstream.tls: a unix socket"),
            "{refusal}"
        );
    }

    #[test]
    fn users_have_a_password_each() {
        let folder = folder();
        let config = read("[listen]\nusers = { app = { password_file = \"password\" } }\n", folder.path()).expect("a user");
        assert_eq!(config.listen.users["app"].expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        for (users, wanted) in [
            ("app = {}", "listen.users[app]: there is a user without a password"),
            ("app = \"secret\"", "listen.users[app]: this is a string (expected a table)"),
            ("app = { password = \"secret\" }", "listen.users[app].password: the key is unknown"),
            ("app = { password_env = \"RESPGUARD_NO_SUCH\" }", "listen.users[app].password_env: the environment variable"),
            ("\"a b\" = { password_file = \"password\" }", "is no user's name"),
        ] {
            let refusal = read(&format!("[listen]\nusers = {{ {users} }}\n"), folder.path()).expect_err(users);
            assert!(refusal.contains(wanted) && !refusal.contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn static_credentials_with_users_may_serve_other_machines() {
        let folder = folder();
        let upstream = "[upstream]\npassword_file = \"password\"\n[listen]\naddress = \"0.0.0.0:1\"\n";
        assert!(read(upstream, folder.path()).expect_err("an open relay").contains("would be an open relay"));
        read(&format!("{upstream}users = {{ app = {{ password_file = \"password\" }} }}\n"), folder.path()).expect("users");
    }
}
