//! The logins that the proxy itself accepts.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;

use respguard_engine::command::Login;

/// Users by name, each with a password.
pub struct Users {
    passwords: HashMap<Box<[u8]>, Box<[u8]>>,
}

impl Users {
    /// `None` when there are none: whoever connects is then admitted.
    pub fn new<'a>(users: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Users> {
        let passwords: HashMap<_, _> =
            users.map(|(name, password)| (name.as_bytes().into(), password.as_bytes().into())).collect();
        (!passwords.is_empty()).then_some(Users { passwords })
    }

    /// Whether it is a user's name and password. How long that takes tells nothing about either.
    pub fn accept(&self, login: &Login) -> bool {
        let known = self.passwords.get(login.user());
        let password = known.map_or(&b"nobody's password"[..], |password| password);
        equal(password, login.password()) & known.is_some()
    }
}

/// Takes as long for a wrong guess as for a right one: the length of what is offered alone decides.
fn equal(password: &[u8], offered: &[u8]) -> bool {
    let mut difference = password.len() ^ offered.len();
    for (byte, wanted) in offered.iter().zip(password.iter().cycle()) {
        difference |= usize::from(black_box(byte ^ wanted));
    }
    black_box(difference) == 0
}

impl fmt::Debug for Users {
    /// Without the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.passwords.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_accepted_with_his_own_password_alone() {
        let users = Users::new([("ann", "apple"), ("default", "pear")].into_iter()).expect("two users");
        let accepts = |user: Option<&[u8]>, password: &[u8]| users.accept(&Login::new(user, password));
        assert!(accepts(Some(b"ann"), b"apple") && accepts(None, b"pear") && accepts(Some(b"default"), b"pear"));
        for wrong in [&b""[..], b"pear", b"appl", b"apple1", b"appleapple", b"Apple", b"nobody's password"] {
            assert!(!accepts(Some(b"ann"), wrong), "{wrong:?}");
            assert!(!accepts(Some(b"bob"), wrong), "{wrong:?}");
        }
        assert!(!accepts(None, b"apple"));
        assert!(!format!("{users:?}").contains("apple"));
    }

    #[test]
    fn without_users_there_is_nobody_to_ask_for() {
        assert!(Users::new(std::iter::empty()).is_none());
    }
}
