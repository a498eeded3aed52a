//! Holds the source tree to the architecture that the `lib.rs` of each crate states.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/layers.rs"]
mod layers;
#[path = "architecture/purity.rs"]
mod purity;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/vocabulary.rs"]
mod vocabulary;
#[path = "architecture/wording.rs"]
mod wording;

use source::Source;

/// The crates whose `lib.rs` lists layers.
const CRATES: [&str; 2] = ["crates/engine/src", "src"];

#[test]
fn imports_go_strictly_downward_along_the_list_in_lib_rs() {
    for (sources, list) in CRATES.map(layered) {
        none(sources.iter().flat_map(|source| layers::breaches(source, &list)));
    }
}

#[test]
fn every_file_belongs_to_a_listed_layer() {
    for (sources, list) in CRATES.map(layered) {
        none(sources.iter().filter_map(|source| layers::homeless(source, &list)));
    }
}

/// Files that import from each other within a room: how many there are in each circle of a crate, the largest first. What shrinks
/// is written down here, so that it cannot grow again.
const CIRCLES: [(&str, &[usize]); 3] = [("crates/resp/src", &[]), ("crates/engine/src", &[2]), ("src", &[28, 2])];

#[test]
fn no_circle_of_files_grows() {
    for (folder, most) in CIRCLES {
        let circles = circles::circles(&source::below(folder));
        let grown = circles.iter().enumerate().filter(|(at, circle)| most.get(*at).is_none_or(|most| circle.len() > *most));
        none(grown.map(|(_, circle)| format!("{folder}, {} files in a circle: {}", circle.len(), circle.join(" "))));
    }
}

fn layered(folder: &str) -> (Vec<Source>, layers::List) {
    let library = format!("{folder}/lib.rs");
    let list = layers::List::stated_in(&read(&library)).unwrap_or_else(|| panic!("{library} states the layers"));
    (source::below(folder), list)
}

#[test]
fn the_engine_knows_no_clock_socket_file_thread_or_task() {
    none(source::below("crates/engine/src").iter().flat_map(purity::breaches));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    let sources = ["crates", "src", "tests", "benches"].into_iter().flat_map(source::below);
    none(sources.filter_map(|source| wording::purpose_breach(&source)));
}

#[test]
fn metric_names_are_written_once_in_the_telemetry_layer() {
    let elsewhere = |source: &&Source| source.path != "src/telemetry/names.rs";
    none(source::below("src").iter().filter(elsewhere).flat_map(wording::metric_names));
}

#[test]
fn names_comments_and_strings_use_the_words_of_the_field() {
    none(["crates", "src"].into_iter().flat_map(source::below).flat_map(|source| vocabulary::breaches(&source)));
}

fn none(breaches: impl Iterator<Item = String>) {
    let breaches: Vec<String> = breaches.collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn read(path: &str) -> String {
    let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}
