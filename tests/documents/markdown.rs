//! Finds what a document shows as code: fenced blocks, and command lines in running text.

/// The programs with which a command line in running text begins.
const PROGRAMS: [&str; 11] =
    ["respguard", "redis-cli", "curl", "kill", "make", "cargo", "docker", "kubectl", "systemctl", "promtool", "scripts/"];

/// One thing that a document shows as code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    pub line: usize,
    /// The words behind the fence: a language, and what is to be done with the text. `inline` for running text.
    pub language: String,
    pub text: String,
}

/// All code of a document in its order, or what is wrong with how it is written.
pub fn code(document: &str) -> Result<Vec<Code>, String> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Code)> = None;
    let mut is_blank_before = true;
    for (place, line) in document.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                open = Some((indent, Code { line: place + 1, language, text: String::new() }));
            }
            (Some(_), Some("")) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) if is_blank_before && indent >= 4 => {
                return Err(format!("line {}: code is indented; a fence would tell its language", place + 1));
            }
            (None, None) => found.extend(command_lines(line).map(|text| inline(place + 1, text))),
        }
        is_blank_before = line.is_empty();
    }
    match open {
        Some((_, block)) => Err(format!("line {}: the fence is not closed", block.line)),
        None => Ok(found),
    }
}

fn inline(line: usize, text: &str) -> Code {
    Code { line, language: "inline".to_owned(), text: format!("{text}\n") }
}

/// Whether the line is a program with its arguments.
pub fn is_command_line(line: &str) -> bool {
    command_lines(&format!("`{line}`")).next().is_some()
}

/// What stands between backticks and is a program with arguments; `respguard run` is only a subcommand's name.
fn command_lines(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| {
        let words = text.split_once(' ');
        words.is_some_and(|(program, arguments)| {
            let is_name = program == "respguard" && arguments.bytes().all(|byte| byte.is_ascii_lowercase());
            let is_known = |known: &&str| program == *known || known.ends_with('/') && program.starts_with(*known);
            !is_name && PROGRAMS.iter().any(is_known)
        })
    })
}

/// The commands of a `console` block, each with the output that is shown for it.
pub fn dialogue(text: &str) -> Vec<(String, String)> {
    let mut dialogue: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), dialogue.last_mut()) {
            (Some(command), _) => dialogue.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    dialogue
}

#[test]
fn fences_and_command_lines_are_found_in_their_order() {
    let text =
        "Run `make test`, see `make` and `respguard run`:\n\n```sh\ncurl x\n```\n\n- in a list:\n\n  ```toml\n  a = 1\n  ```\n";
    let found: Vec<_> = code(text).expect("code").into_iter().map(|code| (code.line, code.language, code.text)).collect();
    let wanted = [(1, "inline", "make test\n"), (3, "sh", "curl x\n"), (9, "toml", "a = 1\n")];
    assert_eq!(found, wanted.map(|(line, language, text)| (line, language.to_owned(), text.to_owned())));
}

#[test]
fn code_that_could_be_overlooked_is_refused() {
    assert!(code("Text:\n\n    make test\n").is_err());
    assert!(code("```sh\nmake test\n").is_err());
}
