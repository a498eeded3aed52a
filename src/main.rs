fn main() {
    respguard::telemetry::log::init(None, None).unwrap();
    let table = respguard::engine::command::Table::builtin();
    let config = match respguard::config::load(std::path::Path::new(&std::env::args().nth(1).unwrap()), &table) { Ok(c) => c, Err(e) => { eprintln!("{e}"); std::process::exit(1) } };
    respguard::server::run(config).unwrap();
}
