//! Checks whether the configured servers are reachable and accept the proxy, for `check --connect`.

use std::fmt::Write;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::surveying::absent;
use super::topology::sentinels;
use super::{security, upstream_settings};
use crate::config::{Config, Topology};
use crate::net::address::Address;
use crate::net::cluster;
use crate::net::cluster::SessionError;
use crate::net::cluster::watch::resolve;
use crate::net::frames::Frames;
use crate::net::sentinel::Sentinels;
use crate::net::sentinel::session::Session;
use crate::net::sentinel::watch::ask_role;
use crate::net::topology::{Primary, View};
use crate::net::upstream::Settings;
use crate::net::upstream::connect::{OpenError, open};
use crate::net::upstream::survey::survey;
use respguard_engine::command::Table;
use respguard_engine::link::handshake::ConnectParams;
use respguard_engine::policy::Policy;
use respguard_engine::route::assignment::Assignment;
use respguard_engine::route::sentinel::{Report, Role};
use respguard_engine::route::slots::SLOTS;
use respguard_resp::{encode, value};

/// How long a node is waited for where only something is to be shown.
const WAIT: Duration = Duration::from_millis(500);

/// What the proxy asks servers by itself, beside what it has asked here before (docs/cluster.md, docs/sentinel.md).
const OWN_QUESTIONS: [&[&[u8]]; 6] =
    [&[b"INFO", b"server"], &[b"COMMAND", b"COUNT"], &[b"CLIENT", b"ID"], &[b"PING"], &[b"MULTI"], &[b"EXEC"]];

/// What was found, a line for each thing, and whether the proxy could serve.
#[derive(Debug, Default)]
pub struct Reached {
    pub text: String,
    pub is_good: bool,
}

impl Reached {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A text takes whatever is written.
        let _ = writeln!(self.text, "{line}");
    }
}

/// Connects to the servers that the configuration names, as the proxy would.
///
/// # Errors
/// There is no runtime to be had, or a certificate is no good.
pub fn reach(config: &Config) -> Result<Reached, super::error::ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let certificates = security::certificates(config)?;
    // The servers are named where they are asked.
    let (_, primary) = Primary::unknown();
    let settings = upstream_settings(config, &certificates, &primary, 1);
    Ok(runtime.block_on(async {
        let mut reached = Reached::default();
        match &config.upstream.topology {
            Topology::Fixed(address) => reached.is_good = ask_server(&settings, address, &config.policy, &mut reached).await,
            Topology::Sentinel(sentinel) => {
                let sentinels = sentinels(sentinel, config, &certificates);
                ask_sentinels(&sentinels, &settings, &config.policy, &mut reached).await;
            }
            Topology::Cluster(cluster) => ask_cluster(&cluster.seeds, &settings, &mut reached).await,
        }
        reached
    }))
}

/// Which node serves which slots of the configured cluster; `None` if no node answers soon.
pub fn who_serves(config: &Config) -> Option<Assignment> {
    let Topology::Cluster(named) = &config.upstream.topology else { return None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let certificates = security::certificates(config).ok()?;
    let (_, primary) = Primary::unknown();
    let settings = upstream_settings(config, &certificates, &primary, 1);
    let mut told = Vec::new();
    runtime.block_on(async {
        for address in &named.seeds {
            let asked = async { cluster::Session::open(&settings, address, WAIT).await?.ask().await };
            told.extend(asked.await.map(|assignment| resolve(address, assignment)));
        }
    });
    Assignment::choose(told)
}

async fn ask_server(settings: &Settings, address: &Address, policy: &Policy, reached: &mut Reached) -> bool {
    match ask_role(settings, address).await {
        Ok(Role::Primary) => {
            reached.line(format_args!("{address} is the primary"));
            ask_rights(settings, address, reached).await & ask_commands(settings, address, policy, reached).await
        }
        Ok(Role::Replica) => {
            reached.line(format_args!("{address} is a replica: it takes no writes"));
            false
        }
        Ok(Role::NotReported(why)) => {
            reached.line(format_args!(
                "{address} answers, but does not say whether it is the primary ({why}): see [upstream] probe"
            ));
            // Where it is meant to ask, it may not.
            let is_good = settings.probe.is_none();
            is_good & ask_rights(settings, address, reached).await & ask_commands(settings, address, policy, reached).await
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            reached.line(format_args!("{error}{cause}{}", whose(settings, &error)));
            false
        }
    }
}

/// Where two users log in, which of them was refused.
fn whose(settings: &Settings, error: &OpenError) -> &'static str {
    match error {
        OpenError::Refused { .. } if settings.probe.is_some() => " (with the credentials of [upstream] probe)",
        _ => "",
    }
}

/// Whether the users that the proxy logs in as may: the one of `probe` has questions to ask, and the other one clients.
async fn ask_rights(settings: &Settings, address: &Address, reached: &mut Reached) -> bool {
    let (Some(probe), view) = (&settings.probe, View::of(address.clone())) else { return true };
    let mut is_good = true;
    if let Some(login) = &settings.login {
        let params = ConnectParams { login: Some(login.clone()), ..ConnectParams::default() };
        if let Err(error) = open(settings, &view, &params, &[]).await {
            reached.line(format_args!("{error} (with the credentials of [upstream])"));
            is_good = false;
        }
    }
    let params = ConnectParams { login: Some(probe.clone()), ..ConnectParams::default() };
    // That it cannot be opened was said.
    let Ok((mut stream, _)) = open(settings, &view, &params, &[]).await else { return false };
    let mut frames = Frames::behind(BytesMut::new(), usize::MAX);
    for words in OWN_QUESTIONS {
        let asked = async {
            stream.write_all(&encode::request_frame(words)).await?;
            stream.flush().await?;
            frames.next::<std::io::Error>(&mut stream).await
        };
        let Ok(Ok(reply)) = tokio::time::timeout(settings.connect_timeout, asked).await else { return false };
        if !value::is_error(&reply) {
            continue;
        }
        // Who may not EXEC is told so within the reply of a transaction that is discarded.
        let text = String::from_utf8_lossy(value::error_text(&reply)).into_owned();
        if let Some(at) = text.find("NOPERM") {
            let why = &text[at..];
            reached.line(format_args!("{address}: the user of [upstream] probe lacks a right: {why}"));
            is_good = false;
        }
    }
    is_good
}

async fn ask_cluster(seeds: &[Address], settings: &Settings, reached: &mut Reached) {
    let (mut told, mut is_all_good) = (Vec::new(), true);
    for address in seeds {
        let asked = async { cluster::Session::open(settings, address, settings.connect_timeout).await?.ask().await };
        match asked.await {
            Ok(assignment) => {
                let (primaries, epoch) = (assignment.shards.len(), assignment.epoch);
                reached.line(format_args!("node {address} knows {primaries} primaries, epoch {epoch}"));
                if !assignment.is_ok {
                    reached.line(format_args!(
                        "node {address} takes the cluster to be down, and refuses every request (cluster_state:fail)"
                    ));
                    is_all_good = false;
                }
                told.push(resolve(address, assignment));
                is_all_good &= ask_rights(settings, address, reached).await;
            }
            Err(error) => {
                let whose = match &error {
                    SessionError::Open(error) => whose(settings, error),
                    _ => "",
                };
                reached.line(format_args!("node {address}: {error}{whose}"));
                is_all_good = false;
            }
        }
    }
    let Some(chosen) = Assignment::choose(told) else {
        reached.line(format_args!("no node of the cluster says who serves what: the proxy would serve nobody"));
        return;
    };
    let served: usize =
        chosen.shards.iter().flat_map(|shard| &shard.ranges).map(|(first, last)| usize::from(last - first) + 1).sum();
    if served < SLOTS {
        reached.line(format_args!("{} of {SLOTS} slots are served by no node", SLOTS - served));
    }
    reached.is_good = is_all_good && served == SLOTS;
}

/// Whether the server has the commands that rules are about: those of a module, or of a newer version, it may lack. One
/// that does not tell is taken to have them, as while the proxy runs.
async fn ask_commands(settings: &Settings, address: &Address, policy: &Policy, reached: &mut Reached) -> bool {
    let mut table = Table::builtin();
    if let Err(error) = survey(settings, &View::of(address.clone()), None, &mut table).await {
        reached.line(format_args!("whether {address} has the commands of the rules is not known: {error}"));
        return true;
    }
    let absent = absent(policy, &table);
    for (rule, command) in &absent {
        reached.line(format_args!("{address} does not have {command}, which rule {rule:?} is about"));
    }
    absent.is_empty()
}

async fn ask_sentinels(sentinels: &Sentinels, settings: &Settings, policy: &Policy, reached: &mut Reached) {
    let (mut newest, mut is_all_good) = (None, true);
    for address in &sentinels.addresses {
        let asked = async { Session::open(sentinels, address).await?.ask().await };
        match asked.await {
            Ok(Report::Named { host, port, epoch }) => {
                reached.line(format_args!("sentinel {address} names {host}:{port} as the primary of {:?}", sentinels.service));
                newest =
                    newest.filter(|(newest, _)| *newest >= epoch).or(Some((epoch, Address::Tcp { host: host.into(), port })));
            }
            Ok(Report::Unknown) => {
                reached.line(format_args!("sentinel {address} watches no service {:?}", sentinels.service));
                is_all_good = false;
            }
            Err(error) => {
                reached.line(format_args!("sentinel {address}: {error}"));
                is_all_good = false;
            }
        }
    }
    match newest {
        Some((_, address)) => reached.is_good = ask_server(settings, &address, policy, reached).await && is_all_good,
        None => reached.line(format_args!("no sentinel names a primary: the proxy would serve nobody")),
    }
}
