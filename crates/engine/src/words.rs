//! Closed sets, each member of which stands for a word or a sentence.

/// Enums whose variants have a text each, which says what they are wherever they are told of.
#[macro_export]
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($(#[$variant_about:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_about])* $variant),+ }

        impl $name {
            /// Every variant once, in the order of declaration.
            pub const ALL: [$name; [$($word),+].len()] = [$($name::$variant),+];

            /// The variant's text.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The variant's place in `ALL`.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}
