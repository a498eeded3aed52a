//! Parses the command in a request's path and query: `/set/foo?EX=100`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::json::Arguments;

/// The parameter that a token can be given in; it is no argument.
const TOKEN: &str = "_token";

/// The segments of a path, decoded.
pub fn segments(path: &str) -> impl Iterator<Item = Vec<u8>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let is_root = path.is_empty();
    path.split('/').filter(move |_| !is_root).map(|segment| decoded(segment, false))
}

/// The token that the query gives.
pub fn token(query: Option<&str>) -> Option<Vec<u8>> {
    let mut parameters = parameters(query);
    parameters.find(|(name, _)| name == TOKEN.as_bytes()).and_then(|(_, value)| value)
}

/// Adds the parameters of a query as arguments, each with its name and its value.
pub fn add_query(query: Option<&str>, into: &mut Arguments) {
    for (name, value) in parameters(query).filter(|(name, _)| name != TOKEN.as_bytes()) {
        into.push(&name);
        value.into_iter().for_each(|value| into.push(&value));
    }
}

fn parameters(query: Option<&str>) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| match pair.split_once('=') {
        Some((name, value)) => (decoded(name, true), Some(decoded(value, true))),
        None => (decoded(pair, true), None),
    })
}

/// `%41` is the byte 0x41; in a query `+` is a blank. What is no escape stays as it is.
fn decoded(text: &str, is_query: bool) -> Vec<u8> {
    let text = if is_query { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    percent_decode_str(&text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str) -> Vec<String> {
        segments(path).map(|segment| String::from_utf8_lossy(&segment).into_owned()).collect()
    }

    fn queried(query: &str) -> Vec<String> {
        let mut arguments = Arguments::default();
        add_query(Some(query), &mut arguments);
        arguments.args().iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        assert_eq!(texts("/set/a%2Fb/c%20d+e"), ["set", "a/b", "c d+e"]);
        assert_eq!(texts("/set/k/%C3%A9%zz%4"), ["set", "k", "é%zz%4"]);
        assert_eq!(texts("/set/k/"), ["set", "k", ""]);
        assert!(texts("/").is_empty() && texts("").is_empty());
    }

    #[test]
    fn parameters_are_names_and_values_without_the_token() {
        assert_eq!(queried("EX=100&_token=secret&NX"), ["EX", "100", "NX"]);
        assert_eq!(queried("a+b=c%26d&e="), ["a b", "c&d", "e", ""]);
        assert!(queried("").is_empty() && queried("_token=x&&").is_empty());
        assert_eq!(token(Some("EX=1&_token=a%2Bb")), Some(b"a+b".to_vec()));
        assert_eq!((token(Some("x=1")), token(Some("_token")), token(None)), (None, None, None));
    }
}
