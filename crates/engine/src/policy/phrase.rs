//! Text with captures, which becomes bytes once they are bound.

use super::pattern::{Bindings, Names, Part, PatternError, next_part};

/// Literal text and `{name}` captures; `{{` and `}}` are braces, and a `*` is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    parts: Box<[Piece]>,
    text: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Capture(usize),
}

/// Why a text is no phrase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// A part of it is no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It names a capture that no member has.
    #[error("no member captures `{0}`")]
    Unknown(String),
}

impl PhraseError {
    /// What would have been right instead.
    pub fn expected(&self) -> &'static str {
        match self {
            PhraseError::Pattern(error) => error.expected(),
            PhraseError::Unknown(_) => "a name that a member of the group captures",
        }
    }
}

impl Phrase {
    /// Reads a text whose names are among those that the members of a group capture.
    ///
    /// # Errors
    /// A brace is not closed, or a name is not among them.
    pub fn parse(text: &str, names: &Names) -> Result<Phrase, PhraseError> {
        let mut parts: Vec<Piece> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, behind) = next_part(rest)?;
            rest = behind;
            parts.push(match part {
                Part::Literal(text) => Piece::Literal(text.into()),
                Part::Run => Piece::Literal("*".into()),
                Part::Capture(name) => {
                    let number = names.as_slice().iter().position(|known| known == name);
                    Piece::Capture(number.ok_or_else(|| PhraseError::Unknown(name.to_owned()))?)
                }
            });
        }
        Ok(Phrase { parts: parts.into(), text: text.into() })
    }

    /// The numbers of its captures, in their order.
    pub fn captures(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Piece::Literal(_) => None,
            Piece::Capture(number) => Some(*number),
        })
    }

    /// The bytes that it stands for; a capture that is not bound is empty.
    pub fn bind(&self, bound: &Bindings<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in &self.parts {
            bytes.extend_from_slice(match part {
                Piece::Literal(text) => text.as_bytes(),
                Piece::Capture(number) => bound.get(*number).unwrap_or_default(),
            });
        }
        bytes
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pattern::Pattern;

    fn phrase(text: &str, word: &str, argument: &str) -> Result<String, String> {
        let mut names = Names::default();
        let pattern = Pattern::parse(word, &mut names).expect("a pattern");
        let phrase = Phrase::parse(text, &names).map_err(|error| error.to_string())?;
        let mut bound = Bindings::default();
        assert!(pattern.matches(argument.as_bytes(), &mut bound));
        Ok(String::from_utf8(phrase.bind(&bound)).expect("text"))
    }

    #[test]
    fn captures_stand_for_what_they_are_bound_to() {
        assert_eq!(phrase("{b}-{a}", "{a}:{b}", "1:2"), Ok("2-1".to_owned()));
        assert_eq!(phrase("{a}{a}*{{}}", "{a}", "x"), Ok("xx*{}".to_owned()));
        assert_eq!(phrase("", "{a}", "x"), Ok(String::new()));
    }

    #[test]
    fn a_name_that_no_member_captures_is_told() {
        assert_eq!(phrase("{c}", "{a}", "x"), Err("no member captures `c`".to_owned()));
        assert_eq!(phrase("{a", "{a}", "x"), Err("`{` is never closed".to_owned()));
    }
}
