//! Describes what is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a configuration file. It prints as one line:
/// `config.toml:12:3: group[0].commands[2]: "SETXE" is not a known command (expected perhaps SETEX)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Where the offending key or value begins; none where the file could not be read.
    pub position: Option<Position>,
    /// The path of the key, empty for the file as a whole.
    pub key: String,
    pub message: String,
    pub expected: String,
    /// The line at the position, as it is in the file.
    pub line: String,
}

/// A line and a column, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// Where the byte at `offset` is in a text.
    pub fn of(offset: usize, text: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: 1 + before.matches('\n').count(), column: 1 + before[line_start..].chars().count() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        if self.expected.is_empty() { Ok(()) } else { write!(f, " (expected {})", self.expected) }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The error with its line and a caret, for people.
    pub fn with_excerpt(&self) -> String {
        format!("{self}{}", self.excerpt().unwrap_or_default())
    }

    /// The line with a caret below its column, if the error has a place.
    fn excerpt(&self) -> Option<String> {
        let Position { line, column } = self.position.filter(|_| !self.line.is_empty())?;
        let number = line.to_string();
        // Tabs stay tabs, so that the caret stands below its letter however wide they are.
        let before = self.line.chars().take(column - 1).map(|letter| if letter == '\t' { '\t' } else { ' ' });
        let (width, before) = (number.len(), before.collect::<String>());
        Some(format!("\n {number} | {}\n {:width$} | {before}^", self.line, ""))
    }
}

/// Everything that is wrong with a configuration file, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl ConfigErrors {
    /// The errors, each with its line and a caret, for people.
    pub fn with_excerpt(&self) -> String {
        self.0.iter().map(ConfigError::with_excerpt).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_column_whatever_letters_are_before_it() {
        let error = |line: &str, column| ConfigError {
            file: "f.toml".into(),
            position: Some(Position { line: 12, column }),
            key: "a".into(),
            message: "wrong".into(),
            expected: "right".into(),
            line: line.into(),
        };
        let both = ConfigErrors(vec![error("\tü = x", 6), error("", 1)]);
        assert_eq!(
            both.with_excerpt(),
            "f.toml:12:6: a: wrong (expected right)\n 12 | \tü = x\n    | \t    ^\nf.toml:12:1: a: wrong (expected right)"
        );
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a\nü = x\n";
        assert_eq!(Position::of(0, text), Position { line: 1, column: 1 });
        assert_eq!(Position::of(1, text), Position { line: 1, column: 2 });
        assert_eq!(Position::of(2, text), Position { line: 2, column: 1 });
        assert_eq!(Position::of(7, text), Position { line: 2, column: 5 });
        assert_eq!(Position::of(99, text), Position { line: 3, column: 1 });
    }
}
