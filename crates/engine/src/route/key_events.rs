//! Channels on which servers tell what becomes of keys, and which patterns cover some of them
//! (<https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/>).

/// How their names begin.
pub const KEY_EVENTS: &[u8] = b"__key";

/// Whether some channel that begins so matches the pattern, as Redis reads it
/// (<https://redis.io/docs/latest/commands/psubscribe/>). Too many are said to: what stands behind a `*` is not looked at.
pub fn pattern_covers_key_events(pattern: &[u8]) -> bool {
    let mut rest = pattern;
    for byte in KEY_EVENTS {
        let Some((first, behind)) = rest.split_first() else { return false };
        rest = match (first, behind) {
            (b'*', _) => return true,
            (b'?', _) => behind,
            (b'[', _) => match behind_class(behind, *byte) {
                Some(behind) => behind,
                None => return false,
            },
            (b'\\', [literal, behind @ ..]) if literal == byte => behind,
            (b'\\', [_, ..]) => return false,
            _ if first == byte => behind,
            _ => return false,
        };
    }
    true
}

/// What follows a class of characters (`[`) that the byte belongs to; `None` where it does not. One that is not closed ends with
/// the pattern.
fn behind_class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (is_negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_in = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [b'\\', literal, behind @ ..] => {
                is_in |= *literal == byte;
                behind
            }
            [from, b'-', to, behind @ ..] => {
                is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                behind
            }
            [literal, behind @ ..] => {
                is_in |= *literal == byte;
                behind
            }
        };
    }
    (is_in != is_negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_a_channel_of_key_events_may_match_cover_them() {
        for pattern in [
            "*",
            "**",
            "_*",
            "__*",
            "__key*",
            "__key",
            "__keyspace@0__:*",
            "__keyevent@?__:set",
            "?_key*",
            "?????",
            "??????",
            "[_a]*",
            "[_a]_key*",
            "[^a]_key*",
            "_[\\_]key*",
            "\\_\\_key*",
            "[a-z_]_k*",
            "[`-^]_k*",
            "__k[a-z]y*",
            "__k[z-a]y*",
            "*nothing",
            "__ke[^a",
        ] {
            assert!(pattern_covers_key_events(pattern.as_bytes()), "{pattern}");
        }
    }

    #[test]
    fn others_do_not() {
        for pattern in [
            "", "news", "n*", "?", "????", "_", "__", "_key*", "__news*", "[a]*", "[^_]*", "\\*", "\\__x*", "__k\\*", "\\",
            "__[k", "__ke[",
        ] {
            assert!(!pattern_covers_key_events(pattern.as_bytes()), "{pattern}");
        }
    }
}
