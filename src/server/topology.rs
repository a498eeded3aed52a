//! Which server the process stands before, and whoever finds that out.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{Config, Credentials, Sentinel, Topology};
use crate::net::sentinel::Sentinels;
use crate::net::sentinel::standing::Standing;
use crate::net::sentinel::watch::Watch;
use crate::net::tls::Certificates;
use crate::net::topology::{Election, Primary};
use crate::net::upstream::Settings;
use respguard_engine::command::Login;

/// How long a sentinel is waited for at most: a failover is not to be missed because one of them is away.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

/// The primary, and how it is found where the configuration does not say.
pub(super) struct Place {
    pub(super) primary: Primary,
    search: Option<(Arc<Sentinels>, Election)>,
    pub(super) standing: Option<Standing>,
}

impl Place {
    pub(super) fn new(config: &Config, certificates: &Certificates) -> Place {
        match &config.upstream.topology {
            Topology::Fixed(address) => Place { primary: Primary::fixed(address.clone()), search: None, standing: None },
            Topology::Sentinel(sentinel) => {
                let sentinels = Arc::new(sentinels(sentinel, config, certificates));
                let standing = Standing::new(&sentinels);
                let (election, primary) = Primary::unknown();
                Place { primary, search: Some((sentinels, election)), standing: Some(standing) }
            }
        }
    }

    /// Looks for the primary until what is returned is dropped; waits a while for the first.
    pub(super) async fn search(&mut self, settings: &Settings) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let Some((sentinels, election)) = self.search.take()
            && let Some(standing) = self.standing.clone()
        {
            tasks.spawn(Watch::new(sentinels, settings.clone(), election, standing).run());
            let mut primary = self.primary.clone();
            let found = async {
                while primary.observe().node.is_none() {
                    primary.changed().await;
                }
            };
            // Without it clients are told that there is none.
            let _ = tokio::time::timeout(settings.connect_timeout, found).await;
        }
        tasks
    }
}

/// How the sentinels are reached.
pub(super) fn sentinels(sentinel: &Sentinel, config: &Config, certificates: &Certificates) -> Sentinels {
    Sentinels {
        addresses: sentinel.addresses.clone(),
        service: sentinel.service.clone(),
        login: sentinel.credentials.as_ref().map(login),
        tls: certificates.connector.clone(),
        timeout: config.upstream.connect_timeout.min(SENTINEL_TIMEOUT),
    }
}

/// What these credentials are to a server.
pub(super) fn login(credentials: &Credentials) -> Login {
    Login::new(credentials.username.as_deref().map(str::as_bytes), credentials.password.expose().as_bytes())
}
