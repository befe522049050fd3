//! The server process: binds everything first, then spawns everything, and ends as one.

mod announce;
pub(crate) mod arena;
mod error;
mod events;
mod groups;
mod listeners;
mod metrics;
mod monitor;
mod presence;
mod process;
mod reload;
pub(crate) mod rlimit;
mod signals;
mod supervisor;
mod systemd;

#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::admin::host;
use crate::api::{self, Api};
use crate::auth::{AuthError, Authenticator};
use crate::config::{ConfigErrors, ListenSettings, Settings};
use crate::coordinator::{Coordinator, StateReceiver};
use crate::denials::Denials;
use crate::fleet::{FleetReceiver, ServerId};
use crate::gate::Gates;
use crate::group::Reporter;
use crate::http::Listener;
use crate::names::{NodeNames, NodeNamesError};
use crate::notify::Notifier;
use crate::reloadable::FileWatcher;
use crate::status::{self, Status};
use crate::store::Store;
use crate::store::instrumented::InstrumentedStore;
use crate::store::open::open_reloadable;
use crate::tls::ServerTls;
pub(crate) use error::ServeError;
use events::EventSource;
use groups::GroupFactory;
use listeners::Services;
use metrics::{Families, ServerMetrics};
use presence::Presence;
use reload::{ReloadMetrics, ReloadTarget, Reloader};
pub(crate) use signals::{Signals, Termination};
use supervisor::{Supervisor, TaskExit};

/// The end of a server that received a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// All requests in flight were answered, or cut off after a timeout.
    Drained,
    /// A second signal arrived before that. The caller exits at once.
    Aborted(Termination),
}

/// A server with loaded files and bound addresses. It does not accept connections yet.
pub(crate) struct Server {
    settings: Settings,
    config: PathBuf,
    signals: Signals,
    hangups: Signal,
    metrics: ServerMetrics,
    families: Families,
    files: FileWatcher<ReloadTarget>,
    store: Arc<dyn Store>,
    authenticator: Option<Arc<Authenticator>>,
    node_names: Arc<NodeNames>,
    notifier: Option<Notifier>,
    status_listener: Option<Listener>,
    listener: Listener,
}

// === impl Server ===

impl Server {
    /// Loads the files and binds the addresses of `settings`. A SIGHUP, which `hangups` receives, will reload `config`;
    /// one of `signals` will end the server.
    ///
    /// # Errors
    /// If a file cannot be used, or an address cannot be bound.
    pub(crate) async fn bind(
        mut settings: Settings,
        config: PathBuf,
        hangups: Signal,
        signals: Signals,
    ) -> Result<Self, ServeError> {
        announce::settings(&settings);
        let limits = &mut settings.limits;
        limits.max_connections = rlimit::raise_nofile_limit(limits.max_connections);
        let (metrics, families) = ServerMetrics::register()?;
        let reloads = &families.reloads;
        let mut files = FileWatcher::new();
        monitor::inspect_embedded(&settings).await;
        let (store, credentials) = open_reloadable(&settings.store, settings.transaction_timeout)?;
        if let Some(credentials) = credentials {
            reloads.loaded(&ReloadTarget::Etcd);
            files.push(ReloadTarget::Etcd, credentials);
        }
        let authenticator = load_authenticator(&settings, &mut files)?;
        let node_names = load_node_names(&settings, reloads, &mut files)?;
        let notifier = load_notifier(&settings, &metrics, reloads, &mut files)?;
        let status_listener = match &settings.status {
            Some(listen) => {
                let listener = bind("status", listen, reloads, &mut files).await?;
                announce::listener("status service", listen, &listener);
                Some(listener)
            }
            None => {
                tracing::warn!("status service disabled");
                None
            }
        };
        let listener = bind("service", &settings.service, reloads, &mut files).await?;
        announce::listener("main service", &settings.service, &listener);
        announce::started(&settings, &listener, status_listener.as_ref());
        Ok(Server {
            settings,
            config,
            signals,
            hangups,
            metrics,
            families,
            files,
            store,
            authenticator,
            node_names,
            notifier,
            status_listener,
            listener,
        })
    }

    /// Runs until a signal asks it to end.
    ///
    /// # Errors
    /// If a task ends that must not end.
    pub(crate) async fn run(self) -> Result<Stopped, ServeError> {
        let mut supervisor = Supervisor::default();
        monitor::inspect_etcd(&self.settings);
        let notifier = self.notifier.clone();
        let (mut signals, mut reloader) = self.spawn(&mut supervisor)?;
        loop {
            // At the start, and after each reload.
            let reload = async {
                systemd::ready().await;
                reloader.read().await
            };
            tokio::select! {
                _ = signals.next() => break,
                exit = supervisor.first_exit() => return Err(exit.into()),
                read = reload => reloader.apply(&mut supervisor, read.map_err(TaskExit::from)?),
            }
        }
        tracing::info!("shutting down");
        let stopped = async {
            let flush = async {
                if let Some(notifier) = notifier {
                    notifier.flush().await;
                }
            };
            tokio::join!(systemd::stopping(), supervisor.drain(flush));
        };
        tokio::select! {
            () = stopped => Ok(Stopped::Drained),
            signal = signals.next() => Ok(Stopped::Aborted(signal)),
        }
    }

    /// Spawns all tasks.
    fn spawn(self, supervisor: &mut Supervisor) -> Result<(Signals, Reloader), ServeError> {
        let Families {
            api,
            connections,
            gates,
            groups,
            reloads,
            store,
        } = self.families;
        let store = Arc::new(InstrumentedStore::new(self.store, store));
        let denials = Arc::<Denials>::default();
        let groups = GroupFactory {
            store: Arc::clone(&store) as _,
            metrics: groups,
            denials: Arc::clone(&denials),
            gates: Arc::new(Gates::new(gates)),
            reporter: Reporter {
                names: Arc::clone(&self.node_names),
                notifier: self.notifier.clone(),
            },
        };
        let initial = groups.state(supervisor, &self.settings, &BTreeMap::new());
        let (sender, receiver) = watch::channel(Arc::new(initial));
        let state = StateReceiver::new(receiver);
        self.metrics
            .register_collectors(state.clone(), Arc::clone(&denials))?;

        let api = Arc::new(Api {
            authenticator: self.authenticator.clone(),
            coordinator: Coordinator::new(
                state.clone(),
                self.settings.transaction_timeout,
                Arc::clone(&self.node_names),
            ),
            denials: Arc::clone(&denials),
            metrics: api,
        });
        let id = ServerId {
            host: host::name(),
            port: self.listener.local_addr().map_or(0, |bound| bound.port()),
            instance: format!("{:016x}", fastrand::u64(..)),
        };
        let notifies = self.notifier.is_some();
        let fleet = spawn_presence(supervisor, &store, &state, &denials, &id, notifies);
        self.metrics.register_fleet(fleet.clone())?;
        let metrics = self.metrics;
        let (rejected, rejection) = watch::channel(None);
        let status = Status {
            state: state.clone(),
            health: store.health(),
            fleet: fleet.clone(),
            id: id.clone(),
            names: Arc::clone(&self.node_names),
            denials: Arc::clone(&denials),
            metrics: Box::new(move || metrics.render()),
            config: self.config.clone(),
            location: self.settings.store.location(),
            rejection: rejection.clone(),
        };
        let services = Services {
            main: api::router(Arc::clone(&api), self.settings.path_prefix.as_deref()),
            api,
            status: status::router(status, self.settings.allowed_hosts.clone()),
        };
        let bound = (self.listener, self.status_listener);
        let trusted_proxies = self.settings.trusted_proxies.as_slice().into();
        listeners::spawn(
            supervisor,
            bound,
            services,
            trusted_proxies,
            &connections,
            &state,
        );
        if let Some(notifier) = self.notifier {
            let events = EventSource {
                state: state.clone(),
                fleet,
                health: store.health(),
                id,
                denials,
                names: self.node_names,
                notifier: notifier.clone(),
            };
            supervisor.spawn("event source", events.run());
            supervisor.spawn("event delivery", notifier.deliver());
        }
        spawn_systemd(supervisor, &store, &state, rejection);
        spawn_monitor(supervisor, &store, &state, self.config.clone());
        let mut files = self.files;
        reloads.gates_loaded(&groups.gates);
        files.push(ReloadTarget::Gates, Arc::clone(&groups.gates) as _);
        let files = Arc::new(files);
        let reloads = Arc::new(reloads);
        spawn_file_watcher(supervisor, &files, &reloads);
        let reloader = Reloader {
            hangups: self.hangups,
            reading: None,
            config: self.config,
            running: self.settings,
            state: sender,
            groups,
            files,
            authenticator: self.authenticator,
            metrics: reloads,
            rejected,
        };
        Ok((self.signals, reloader))
    }
}

/// Spawns the tasks that talk to the service manager, if there is one.
fn spawn_systemd(
    supervisor: &mut Supervisor,
    store: &Arc<InstrumentedStore>,
    state: &StateReceiver,
    rejection: watch::Receiver<Option<ConfigErrors>>,
) {
    if systemd::is_enabled() {
        let status = systemd::report_status(state.clone(), store.health(), rejection);
        supervisor.spawn("service status", status);
    }
    if let Some(timeout) = systemd::watchdog_timeout() {
        let state = state.clone();
        supervisor.spawn("watchdog", async move {
            systemd::watchdog(state, timeout).await;
        });
    }
}

/// Spawns the task that exchanges documents with the other servers.
fn spawn_presence(
    supervisor: &mut Supervisor,
    store: &Arc<InstrumentedStore>,
    state: &StateReceiver,
    denials: &Arc<Denials>,
    id: &ServerId,
    notifies: bool,
) -> FleetReceiver {
    let (sender, fleet) = watch::channel(None);
    let presence = Presence {
        store: Arc::clone(store) as _,
        state: state.clone(),
        denials: Arc::clone(denials),
        id: id.clone(),
        started: Timestamp::now(),
        notifies,
        fleet: sender,
        shutdown: supervisor.shutdown.clone(),
        ending: supervisor.connections.token(),
    };
    supervisor.spawn("presence", presence.run());
    fleet
}

fn spawn_monitor(
    supervisor: &mut Supervisor,
    store: &Arc<InstrumentedStore>,
    state: &StateReceiver,
    config: PathBuf,
) {
    let (probed, probe_state) = (Arc::clone(store), state.clone());
    supervisor.spawn("store probe", async move {
        monitor::probe(&probed, probe_state).await;
    });
    let (followed, follower_state) = (Arc::clone(store), state.clone());
    supervisor.spawn("store follower", async move {
        monitor::follow(&followed, follower_state).await;
    });
    let check = monitor::check_consistency(Arc::clone(store), state.clone(), config);
    supervisor.spawn("consistency check", check);
}

fn spawn_file_watcher(
    supervisor: &mut Supervisor,
    files: &Arc<FileWatcher<ReloadTarget>>,
    metrics: &Arc<ReloadMetrics>,
) {
    let (files, metrics) = (Arc::clone(files), Arc::clone(metrics));
    let watch = move || files.watch(|target, successful| metrics.reloaded(target, successful));
    supervisor.spawn("file watcher", async {
        // It never returns.
        let _panicked = tokio::task::spawn_blocking(watch).await;
    });
}

fn load_authenticator(
    settings: &Settings,
    files: &mut FileWatcher<ReloadTarget>,
) -> Result<Option<Arc<Authenticator>>, AuthError> {
    let Some(path) = settings.htpasswd_path.clone() else {
        return Ok(None);
    };
    let authenticator = Arc::new(Authenticator::load(path, settings.limits.max_pending_auth)?);
    authenticator.warn_of_unknown_users(&settings.groups);
    files.push(ReloadTarget::Htpasswd, Arc::clone(&authenticator) as _);
    Ok(Some(authenticator))
}

fn load_node_names(
    settings: &Settings,
    metrics: &ReloadMetrics,
    files: &mut FileWatcher<ReloadTarget>,
) -> Result<Arc<NodeNames>, NodeNamesError> {
    let Some(path) = settings.node_names_path.clone() else {
        return Ok(Arc::default());
    };
    let names = Arc::new(NodeNames::load(path)?);
    metrics.loaded(&ReloadTarget::NodeNames);
    files.push(ReloadTarget::NodeNames, Arc::clone(&names) as _);
    Ok(names)
}

fn load_notifier(
    settings: &Settings,
    metrics: &ServerMetrics,
    reloads: &ReloadMetrics,
    files: &mut FileWatcher<ReloadTarget>,
) -> Result<Option<Notifier>, ServeError> {
    let Some(settings) = settings.notify.clone() else {
        return Ok(None);
    };
    let notifier = Notifier::load(settings, &host::name(), metrics.register_notify()?)?;
    if let Some(loaded) = notifier.files() {
        reloads.loaded(&ReloadTarget::Notify);
        files.push(ReloadTarget::Notify, loaded);
    }
    Ok(Some(notifier))
}

async fn bind(
    name: &'static str,
    settings: &ListenSettings,
    metrics: &ReloadMetrics,
    files: &mut FileWatcher<ReloadTarget>,
) -> Result<Listener, ServeError> {
    let tls = match settings.tls.clone() {
        None => None,
        Some(tls) => {
            let tls = ServerTls::load(name, tls).map_err(|source| ServeError::Tls {
                section: name,
                source,
            })?;
            let tls = Arc::new(tls);
            let target = ReloadTarget::Listener(Arc::clone(&tls));
            metrics.loaded(&target);
            files.push(target, Arc::clone(&tls) as _);
            Some(tls)
        }
    };
    Ok(Listener::bind(name, settings, tls).await?)
}
