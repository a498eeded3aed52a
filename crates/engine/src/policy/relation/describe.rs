//! Describes in words what an audit of a relation walks and asks.

use std::fmt::Write as _;

use super::{Form, Place, Relation, Topology, Walk};
use crate::policy::rule::{PlaceKind, Repair, TtlBound, Word};

/// What would be walked and asked, line by line.
pub fn describe(relation: &Relation) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{words}");
    };
    line(format!("relation {}", relation.name));
    match &relation.form {
        Form::Set(keys) => {
            let keys: Vec<_> = keys.iter().map(|key| key.text()).collect();
            line(format!("  holds where of {} all are there, or none", keys.join(", ")));
        }
        Form::Reference { from, needs } => {
            let needs: Vec<_> = needs.iter().map(|need| &*need.text).collect();
            line(format!("  holds where for each {} there is {}", from.text, needs.join(", and ")));
        }
    }
    for walk in relation.walks() {
        walked(&walk).into_iter().for_each(&mut line);
    }
    line("  asks, in pipelines".to_owned());
    match &relation.form {
        Form::Set(keys) => keys.iter().for_each(|key| line(format!("    EXISTS {}", key.text()))),
        Form::Reference { from, needs } => {
            std::iter::once(from).chain(needs).flat_map(questions).for_each(&mut line);
            if let Some(bound) = relation.ttl {
                let how = match bound {
                    TtlBound::AtLeast => "at least",
                    TtlBound::AtMost => "at most",
                };
                for need in needs {
                    let (own, other) = (from.key.text(), need.key.text());
                    line(format!("    PTTL {own} is {how} PTTL {other}, give or take a second (violation relation_ttl)"));
                }
            }
        }
    }
    line("  what is broken is looked at again after [audit] grace_ms, then in one MULTI .. EXEC, and only then told".to_owned());
    line(format!("  repair: {}", repaired(relation)));
    if relation.repair != Repair::Report && relation.repair_on(Topology::Cluster) == Repair::Report {
        line("  on a cluster it is only reported: its keys can lie in different slots".to_owned());
    }
    text
}

fn walked(walk: &Walk<'_>) -> Vec<String> {
    let glob = String::from_utf8_lossy(&walk.key.glob()).into_owned();
    let of_type = walk.type_name().map(|name| format!(" TYPE {name}")).unwrap_or_default();
    let mut lines = vec![format!("  walks SCAN MATCH {glob}{of_type}, keys like {}", walk.key.text())];
    let element = walk.element.map(|element| element.text()).unwrap_or_default();
    match walk.kind {
        PlaceKind::Key => {}
        PlaceKind::Member => lines.push(format!("    in each SSCAN or ZSCAN, members like {element}")),
        PlaceKind::Field => lines.push(format!("    in each HSCAN, fields like {element}")),
        PlaceKind::Item => lines.push(format!("    in each LRANGE by pieces, items like {element}")),
        PlaceKind::Value => lines.push(format!("    of each GETRANGE, values like {element}")),
    }
    lines
}

fn questions(place: &Place) -> Vec<String> {
    let key = place.key.text();
    let element = place.element.as_ref().map(|element| element.text()).unwrap_or_default();
    match place.kind {
        PlaceKind::Key => vec![format!("    EXISTS {key}")],
        PlaceKind::Member => vec![format!("    SISMEMBER {key} {element}, ZSCORE {key} {element}")],
        PlaceKind::Field => vec![format!("    HEXISTS {key} {element}")],
        PlaceKind::Item => vec![format!("    LPOS {key} {element}")],
        PlaceKind::Value => vec![format!("    GETRANGE {key}, compared with {element}")],
    }
}

fn repaired(relation: &Relation) -> String {
    let word = relation.repair.as_str();
    match (relation.repair, &relation.form) {
        (Repair::Report, _) => format!("{word}: nothing is removed"),
        (Repair::Delete, Form::Set(_)) => format!("{word}: DEL of what is left of an incomplete set, when it is asked for"),
        (Repair::Delete, Form::Reference { from, .. }) => {
            format!("{word}: DEL {}, when it is asked for", from.key.text())
        }
        (Repair::Remove, Form::Set(_)) => word.to_owned(),
        (Repair::Remove, Form::Reference { from, .. }) => {
            let command = match from.kind {
                PlaceKind::Member => "SREM or ZREM",
                PlaceKind::Field => "HDEL",
                PlaceKind::Item => "LREM",
                PlaceKind::Key | PlaceKind::Value => "DEL",
            };
            format!("{word}: {command} of the reference, when it is asked for; never its owner")
        }
    }
}
