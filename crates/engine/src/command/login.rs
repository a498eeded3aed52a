//! The arguments of AUTH, kept out of all output.

use std::fmt;

/// The name used where none is given.
pub const DEFAULT_USER: &[u8] = b"default";

/// A password, and whose it is (<https://redis.io/docs/latest/commands/auth/>). `Debug` shows neither: people type
/// passwords where names belong.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    user: Option<Box<[u8]>>,
    password: Box<[u8]>,
}

impl Login {
    /// Without a user it is the default user's password.
    pub fn new(user: Option<&[u8]>, password: &[u8]) -> Login {
        Login { user: user.map(Into::into), password: password.into() }
    }

    /// The user's name.
    pub fn user(&self) -> &[u8] {
        self.user.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// The password itself, for the place that compares it.
    pub fn password(&self) -> &[u8] {
        &self.password
    }

    /// The arguments of AUTH, as many as were given.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        self.user.as_deref().into_iter().chain([&self.password[..]])
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_never_printed() {
        let login = Login::new(Some(b"ann"), b"hunter2");
        let printed = format!("{login:?} {:#?}", Some(&login));
        assert!(!printed.contains("hunter2") && !printed.contains("ann") && !printed.contains("104"), "{printed}");
    }

    #[test]
    fn a_password_alone_is_the_default_users() {
        let (alone, named) = (Login::new(None, b"p"), Login::new(Some(b"u"), b"p"));
        assert_eq!((alone.user(), named.user()), (&b"default"[..], &b"u"[..]));
        assert_eq!(alone.arguments().collect::<Vec<_>>(), [b"p"]);
        assert_eq!(named.arguments().collect::<Vec<_>>(), [b"u", b"p"]);
    }
}
