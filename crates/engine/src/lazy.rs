//! State that most clients never have: until it is first changed it takes the space of a pointer.

use std::cell::OnceCell;
use std::ops::Deref;

/// What reads as blank until it is first changed, or put into use.
#[derive(Debug)]
pub struct Lazy<T>(OnceCell<Box<T>>);

/// What reads like [`Default`] without being made.
pub trait Blank: 'static {
    /// As it is before anything has changed it.
    const BLANK: &'static Self;
}

impl<T> Lazy<T> {
    /// As it is once it has been made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.get().map(|made| &**made)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.0.get_mut().map(|made| &mut **made)
    }

    /// It takes no room any more, and reads as blank.
    pub fn forget(&mut self) {
        self.0.take();
    }
}

impl<T: Default> Lazy<T> {
    /// The same; what it was.
    pub fn take(&mut self) -> T {
        self.0.take().map(|made| *made).unwrap_or_default()
    }

    /// It takes room from now on.
    #[inline]
    pub fn make(&self) -> &T {
        self.0.get_or_init(Box::default)
    }

    /// The same, to be changed.
    #[inline]
    pub fn make_mut(&mut self) -> &mut T {
        self.make();
        self.get_mut().expect("it has been made")
    }
}

impl<T> Default for Lazy<T> {
    fn default() -> Lazy<T> {
        Lazy(OnceCell::new())
    }
}

impl<T: Blank> Deref for Lazy<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.get().unwrap_or(T::BLANK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Blank for Vec<u8> {
        const BLANK: &'static Vec<u8> = &Vec::new();
    }

    #[test]
    fn looking_into_it_makes_nothing_and_what_is_put_in_stays() {
        let mut lazy: Lazy<Vec<u8>> = Lazy::default();
        assert!(lazy.is_empty() && lazy.get().is_none() && lazy.get_mut().is_none());
        lazy.make_mut().push(1);
        lazy.make_mut().push(2);
        assert_eq!((&**lazy, lazy.make().len()), (&[1, 2][..], 2));
        lazy.forget();
        assert!(lazy.is_empty() && lazy.get().is_none());
        assert_eq!(size_of::<Lazy<Vec<u8>>>(), size_of::<usize>());
    }
}
