//! Load balancers say for whom they connect.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::{Proxy, RedisServer, Setup, Wire, text};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn client(proxy: &Proxy, name: &str) -> Value {
    let (status, body) = proxy.get(&format!("/clients?name={name}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["clients"][0].clone()
}

fn announced(proxy: &Proxy, header: &[u8], name: &str) -> Wire {
    let mut wire = proxy.wire();
    // In one piece with the first request: no byte of it belongs to the header.
    wire.send(&[header, format!("CLIENT SETNAME {name}\r\n").as_bytes()].concat());
    assert_eq!(text(&wire.reply()), "+OK\r\n");
    wire
}

#[test]
fn both_versions_name_the_client_and_a_check_of_the_load_balancers_own_names_itself() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).listen("proxy_protocol = [\"10.0.0.0/8\", \"127.0.0.1\"]").start();
    let v2 = [SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 9, 192, 0, 2, 1, 0x1f, 0x90, 0x18, 0xeb]].concat();
    let mut first = announced(&proxy, b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 6379\r\n", "first");
    let _second = announced(&proxy, &v2, "second");
    let third = announced(&proxy, &[SIGNATURE, &[0x20, 0, 0, 0]].concat(), "third");
    assert_eq!(client(&proxy, "first")["address"], "[2001:db8::7]:4711");
    assert_eq!(client(&proxy, "first")["local"], "[2001:db8::1]:6379");
    assert_eq!(client(&proxy, "second")["address"], "192.0.2.9:8080");
    assert_eq!(client(&proxy, "third")["address"], third.local());
    let listed = first.ask("CLIENT LIST");
    assert!(listed.contains("addr=192.0.2.9:8080 laddr=192.0.2.1:6379"), "{listed}");
    assert_eq!(first.ask("CLIENT KILL ADDR 192.0.2.9:8080"), ":1\r\n");
}

#[test]
fn a_connection_from_there_that_does_not_say_so_is_closed_and_counted() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).listen("proxy_protocol = [\"127.0.0.0/8\"]").start();
    for wrong in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PROXY TCP4 1.1.1.1 nowhere 1 1\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut wire = proxy.wire();
        wire.send(wrong);
        assert_eq!(text(&wire.until_closed()), "");
    }
    assert_eq!(proxy.metric("respguard_client_connections_total", &[("outcome", "refused")]), 3.0);
    // One that says nothing keeps nobody waiting.
    let _silent = proxy.wire();
    let mut good = announced(&proxy, b"PROXY UNKNOWN\r\n", "good");
    assert_eq!(good.ask("PING"), "+PONG\r\n");
}

#[test]
fn from_elsewhere_no_header_is_taken() {
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).listen("proxy_protocol = [\"10.0.0.0/8\"]").start();
    let mut wire = proxy.wire();
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 6379";
    assert!(wire.ask(header).starts_with("-ERR unknown command 'PROXY'"), "it is a command like any other");
    wire.ask("CLIENT SETNAME me");
    let address: SocketAddr = client(&proxy, "me")["address"].as_str().expect("text").parse().expect("an address");
    assert_eq!(address.to_string(), wire.local());
}
