//! A client that shows what respguard answers for a group that fails: EXECABORT when nothing was applied, PARTIAL when a part was.
//!
//! It wants a respguard with the rules of the demo, and writes a few keys that it deletes again:
//!
//! ```sh
//! respguard run --config demo/config.toml
//! cargo run --example error_replies -- 127.0.0.1:6380
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

const ADDRESS: &str = "127.0.0.1:6380";
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is shown: a title, commands that prepare it, and the pipeline.
const STORIES: [(&str, &[&str], &[&str]); 3] = [
    ("a group of which every member is fine", &[], &["HSET blobs:example bytes 0123", "HSET info:example type text/plain"]),
    ("a member that Redis refuses to queue", &[], &["HSET blobs:example bytes 0123", "HSET info:example type"]),
    (
        "a member that fails while it runs",
        &["SET snap:index no-sorted-set"],
        &[
            "SET snap:time:1 a",
            "SET snap:id:example b",
            "SET snap:latest example",
            "ZADD snap:index 1 example",
            "ZREMRANGEBYSCORE snap:index -inf 0",
            "DEL snap:live",
        ],
    ),
];
const KEYS: &str = "DEL blobs:example info:example snap:time:1 snap:id:example snap:latest snap:index";

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| ADDRESS.to_owned());
    let mut client = Client::connect(&address)?;
    for (title, before, pipeline) in STORIES {
        println!("{title}:");
        client.pipeline(before)?;
        for (command, reply) in pipeline.iter().zip(client.pipeline(pipeline)?) {
            println!("  {command}\n    {}", meaning(&reply));
        }
        client.pipeline(&[KEYS])?;
    }
    Ok(())
}

/// The reply, and what its first word says about the group.
fn meaning(reply: &str) -> String {
    let says = match reply.split_whitespace().next().unwrap_or_default() {
        "-EXECABORT" => "nothing of the group was applied: it is safe to send it again",
        "-PARTIAL" => "a part of the group was applied: look before you send it again",
        "-TIMEOUT" => "nobody knows whether it was applied",
        "-COMMITTED" => "it was applied, and its replies were lost",
        word if word.starts_with('-') => "Redis' own error: this member is the culprit",
        _ => return reply.to_owned(),
    };
    format!("{reply}\n    => {says}")
}

struct Client {
    replies: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Client { replies: BufReader::new(stream) })
    }

    /// Sends the commands in one write and reads as many replies, each of which is one line here.
    fn pipeline(&mut self, commands: &[&str]) -> io::Result<Vec<String>> {
        let bytes: String = commands.iter().map(|command| format!("{command}\r\n")).collect();
        self.replies.get_mut().write_all(bytes.as_bytes())?;
        commands.iter().map(|_| self.reply()).collect()
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.replies.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
