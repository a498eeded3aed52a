//! Reads credentials from the environment or from a separate file, never from the configuration itself.

use std::path::Path;

use super::Credentials;
use super::secret::Secret;
use super::section::{Findings, Section};

/// Where credentials come from.
pub(super) struct Sources<'s> {
    pub(super) environment: &'s dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths start from: the configuration file's own.
    pub(super) folder: &'s Path,
}

impl Sources<'_> {
    /// The secret in the environment variable that a key names.
    pub(super) fn environment_secret(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Secret> {
        let variable = section.text(key, findings)?;
        let path = section.path_of(key);
        match (self.environment)(&variable) {
            Some(text) if !text.is_empty() => Some(Secret::new(text)),
            Some(_) => fail(&path, format!("the environment variable {variable:?} is empty"), findings),
            None => fail(&path, format!("the environment variable {variable:?} is not set"), findings),
        }
    }

    /// The secret in the file that a key names; one line ending at its end is no part of it.
    fn file_secret(&self, section: &mut Section<'_>, key: &'static str, findings: &mut Findings) -> Option<Secret> {
        let file = self.folder.join(section.text(key, findings)?);
        let path = section.path_of(key);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                return fail(&path, format!("{} cannot be read: {error}", file.display()), findings);
            }
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return fail(&path, format!("{} is empty", file.display()), findings);
        }
        Some(Secret::new(line))
    }

    /// The password that a table names by one of its two keys.
    pub(super) fn password(&self, section: &mut Section<'_>, findings: &mut Findings) -> Option<Secret> {
        self.secret(section, ["password_env", "password_file"], findings)
    }

    /// The secret that a table names by one of two keys: of an environment variable, and of a file.
    pub(super) fn secret(
        &self,
        section: &mut Section<'_>,
        [env, file]: [&'static str; 2],
        findings: &mut Findings,
    ) -> Option<Secret> {
        let in_environment = self.environment_secret(section, env, findings);
        let in_file = self.file_secret(section, file, findings);
        if in_environment.is_some() && in_file.is_some() {
            let path = section.path_of(file);
            findings.add(&path, format!("there are both {env} and {file}"), "one of the two");
        }
        in_environment.or(in_file)
    }

    /// A token that no request could carry would let nobody in.
    pub(super) fn check_token(path: &str, token: &Secret, findings: &mut Findings) {
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            findings.add(
                path,
                "a token has characters that no HTTP header can carry",
                "letters, digits and signs without spaces and line ends",
            );
        }
    }

    /// The static credentials of `[upstream]`, if it has any.
    pub(super) fn upstream(&self, section: &mut Section<'_>, findings: &mut Findings) -> Option<Credentials> {
        self.credentials(section, "username", ["password_env", "password_file"], findings)
    }

    /// Those of its sentinels.
    pub(super) fn sentinel(&self, section: &mut Section<'_>, findings: &mut Findings) -> Option<Credentials> {
        let keys = ["sentinel_password_env", "sentinel_password_file"];
        self.credentials(section, "sentinel_username", keys, findings)
    }

    fn credentials(
        &self,
        section: &mut Section<'_>,
        name: &'static str,
        keys: [&'static str; 2],
        findings: &mut Findings,
    ) -> Option<Credentials> {
        let username = section.text(name, findings);
        let password = self.secret(section, keys, findings);
        let path = section.path_of(name);
        match (&username, &password) {
            (Some(name), _) if name.is_empty() => findings.add(&path, "the name is empty", "a user's name, or no such key"),
            (Some(_), None) if !findings.covers(section.path()) => {
                let expected = format!("{} or {} beside it", keys[0], keys[1]);
                findings.add(&path, "there is a user without a password", expected);
            }
            _ => {}
        }
        Some(Credentials { username, password: password? })
    }

    /// Those for the proxy's own questions.
    pub(super) fn probe(&self, section: &mut Section<'_>, findings: &mut Findings) -> Option<Credentials> {
        let (mut probe, is_there) = section.optional_section("probe", findings);
        let credentials = self.upstream(&mut probe, findings);
        if is_there && credentials.is_none() && !findings.covers(probe.path()) {
            findings.add(probe.path(), "there is no password", "password_env or password_file");
        }
        probe.end(findings);
        credentials
    }
}

fn fail(path: &str, message: String, findings: &mut Findings) -> Option<Secret> {
    findings.add(path, message, "a credential");
    None
}
