//! Holds the source tree to the architecture that `src/lib.rs` states.

#[path = "architecture/layers.rs"]
mod layers;
#[path = "architecture/purity.rs"]
mod purity;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/wording.rs"]
mod wording;

use source::Source;

#[test]
fn imports_go_strictly_downward_along_the_list_in_lib_rs() {
    let sources = source::below("src");
    let list = layers::List::stated_in(&read("src/lib.rs")).expect("src/lib.rs states the layers");
    none(sources.iter().flat_map(|source| layers::breaches(source, &list)));
}

#[test]
fn every_file_belongs_to_a_listed_layer() {
    let list = layers::List::stated_in(&read("src/lib.rs")).expect("src/lib.rs states the layers");
    none(source::below("src").iter().filter_map(|source| layers::homeless(source, &list)));
}

#[test]
fn the_engine_knows_no_clock_socket_log_metric_or_task() {
    none(source::below("src/engine").iter().flat_map(purity::breaches));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is_for() {
    let sources = ["src", "tests", "benches"].into_iter().flat_map(source::below);
    none(sources.filter_map(|source| wording::purpose_breach(&source)));
}

#[test]
fn metric_names_are_written_once_in_the_telemetry_layer() {
    let elsewhere = |source: &&Source| source.path != "src/telemetry/names.rs";
    none(source::below("src").iter().filter(elsewhere).flat_map(wording::metric_names));
}

fn none(breaches: impl Iterator<Item = String>) {
    let breaches: Vec<String> = breaches.collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn read(path: &str) -> String {
    let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}
