//! The server: binds everything, then runs everything, and ends as one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, AccessError};
use crate::config::{GroupSettings, Limits, ListenSettings, Settings, StoreSettings};
use crate::files::Watched;
use crate::group::Group;
use crate::http::listener::{BindError, Listener, Serving};
use crate::http::routes::{self, Service};
use crate::live::{Live, LiveGroup, LiveReceiver};
use crate::metrics::Metrics;
use crate::monitor;
use crate::notify;
use crate::open_files;
use crate::reload;
use crate::shutdown::Shutdown;
use crate::status::{self, Status};
use crate::store::GroupName;
use crate::store::measured::MeasuredStore;
use crate::store::open::{StoreSetupError, open_watched};
use crate::tls::{ServerTls, TlsError};

/// How long requests in flight have to end after the first signal.
const DRAIN: Duration = Duration::from_millis(4500);

/// Why the server did not start, or ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Store(#[from] StoreSetupError),
    #[error("{0} ({1}.tls_cert_path, {1}.tls_key_path)")]
    Tls(TlsError, &'static str),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{0}")]
    System(#[from] io::Error),
    /// Invariant 10: there is no server that answers and cannot lock.
    #[error("the task {0} has ended, which it never should")]
    TaskEnded(String),
}

/// Runs the server until a signal asks it to end. SIGHUP has it read `config` again.
///
/// # Errors
/// If something cannot be bound or opened, or a task ends that should not.
pub async fn serve(mut settings: Settings, config: &Path) -> Result<(), ServeError> {
    log_settings(&settings);
    settings.limits.connections = open_files::make_room(settings.limits.connections);
    let mut signals = Shutdown::listen()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let metrics = Arc::new(Metrics::new()?);
    let mut files = Watched::default();
    let (store, credentials) = open_watched(&settings.store, settings.transaction_timeout)?;
    if let Some(credentials) = credentials {
        let failures = metrics.tls_reload_failures.with_label_values(&["etcd3"]);
        files.push(credentials, failures);
    }
    let store = Arc::new(MeasuredStore::new(store, Arc::clone(&metrics)));

    let access = access(&settings, &metrics, &mut files)?;
    let status_listener = match &settings.status {
        Some(listen) => {
            let listener = bind("status", listen, &metrics, &mut files).await?;
            announce("status service", listen, &listener);
            Some(listener)
        }
        None => {
            tracing::warn!("status service disabled");
            None
        }
    };
    let listener = bind("service", &settings.service, &metrics, &mut files).await?;
    announce("main service", &settings.service, &listener);

    // Everything is bound; from here on nothing fails at the start.
    let mut tasks = Tasks::default();
    let groups = spawn_groups(&mut tasks, &settings, &BTreeMap::new(), &store, &metrics);
    let (sender, receiver) = watch::channel(Arc::new(live_of(&settings, groups)));
    let live = LiveReceiver::new(receiver);
    let service = Arc::new(Service {
        access: access.clone(),
        live: live.clone(),
        transaction_timeout: settings.transaction_timeout,
        metrics: Arc::clone(&metrics),
    });
    let serving = |name, router, limits: fn(&Limits) -> Limits| Serving {
        name,
        router,
        limits,
        live: live.clone(),
        metrics: Arc::clone(&metrics),
        shutdown: tasks.shutdown.clone(),
        connections: tasks.connections.clone(),
    };
    let main_serving = serving("service", routes::router(service), Limits::clone);
    let status_serving = serving(
        "status",
        status::router(Arc::new(Status {
            live: live.clone(),
            metrics: Arc::clone(&metrics),
            health: store.health(),
        })),
        Limits::for_operators,
    );
    tasks.spawn("main listener", listener.serve(main_serving));
    if let Some(listener) = status_listener {
        tasks.spawn("status listener", listener.serve(status_serving));
    }
    spawn_notify(&mut tasks, &store, &live);
    spawn_monitor(&mut tasks, &store, &live);
    let files = Arc::new(files);
    let watched = Arc::clone(&files);
    tasks.spawn("file watch", async move { watched.watch().await });
    notify::ready();

    loop {
        tokio::select! {
            () = signals.requested() => break,
            name = tasks.any_ended() => return Err(ServeError::TaskEnded(name)),
            _ = hangups.recv() => {
                let _reloading = notify::reloading();
                files.reload_all();
                let new = reload::read(config, &settings);
                metrics.reloaded(new.is_some());
                let Some(mut new) = new else { continue };
                new.limits.connections = open_files::make_room(new.limits.connections);
                if let Some(access) = &access {
                    access.warn_of_unknown_users(&new.groups);
                }
                let old = Arc::clone(&sender.borrow());
                let changes = reload::describe(&old, &new.groups);
                let groups = spawn_groups(&mut tasks, &new, &old.groups, &store, &metrics);
                let new = Arc::new(live_of(&new, groups));
                sender.send_replace(Arc::clone(&new));
                // Afterwards: what is shown of the old ones would make them anew.
                for name in old.groups.keys().filter(|name| !new.groups.contains_key(*name)) {
                    metrics.forget(name);
                }
                tracing::warn!(changes, "configuration reloaded");
            }
        }
    }
    tracing::info!("shutting down");
    notify::stopping();
    signals.abort_on_next();
    tasks.drain().await;
    Ok(())
}

/// The groups of `settings`: those that run already keep their task and what waits for it.
fn spawn_groups(
    tasks: &mut Tasks,
    settings: &Settings,
    running: &BTreeMap<GroupName, LiveGroup>,
    store: &Arc<MeasuredStore>,
    metrics: &Metrics,
) -> BTreeMap<GroupName, LiveGroup> {
    let spawn = |(name, settings_of_group): (&GroupName, &GroupSettings)| {
        let group = match running.get(name) {
            Some(running) => {
                let group = running.group.clone();
                group.set_configured_slots(settings_of_group.slots);
                group
            }
            None => {
                let (group, task) = Group::new(
                    name.clone(),
                    settings_of_group.slots,
                    settings.limits.waiting_requests_per_group,
                    Arc::clone(store) as _,
                    metrics.group(name),
                );
                tasks.spawn_until_unused(task.run());
                group
            }
        };
        let settings = settings_of_group.clone();
        (name.clone(), LiveGroup { group, settings })
    };
    settings.groups.iter().map(spawn).collect()
}

fn live_of(settings: &Settings, groups: BTreeMap<GroupName, LiveGroup>) -> Live {
    Live {
        groups,
        slots_mismatch: settings.slots_mismatch,
        limits: settings.limits.clone(),
    }
}

/// What the service manager wants to hear, if there is one.
fn spawn_notify(tasks: &mut Tasks, store: &MeasuredStore, live: &LiveReceiver) {
    if notify::is_wanted() {
        tasks.spawn(
            "status of the service",
            notify::report_status(live.clone(), store.health()),
        );
    }
    if let Some(timeout) = notify::watchdog_timeout() {
        let live = live.clone();
        tasks.spawn("watchdog", async move {
            notify::watchdog(live, timeout).await;
        });
    }
}

fn spawn_monitor(tasks: &mut Tasks, store: &Arc<MeasuredStore>, live: &LiveReceiver) {
    let with = || (Arc::clone(store), live.clone());
    let (store, live) = with();
    tasks.spawn("store probe", async move {
        monitor::probe(&store, live).await;
    });
    let (store, live) = with();
    tasks.spawn("store follower", async move {
        monitor::follow(&store, live).await;
    });
    let (store, live) = with();
    tasks.spawn("consistency check", async move {
        monitor::check_consistency(&store, live).await;
    });
}

/// Who may do what, where the configuration says so.
fn access(
    settings: &Settings,
    metrics: &Metrics,
    files: &mut Watched,
) -> Result<Option<Arc<Access>>, AccessError> {
    let Some(path) = settings.htpasswd_path.clone() else {
        return Ok(None);
    };
    let waiting = settings.limits.waiting_passwords;
    let access = Arc::new(Access::load(path, waiting)?);
    access.warn_of_unknown_users(&settings.groups);
    let failures = metrics.htpasswd_reload_failures.clone();
    files.push(Arc::clone(&access) as _, failures);
    Ok(Some(access))
}

async fn bind(
    name: &'static str,
    settings: &ListenSettings,
    metrics: &Metrics,
    files: &mut Watched,
) -> Result<Listener, ServeError> {
    let tls = match settings.tls.clone() {
        None => None,
        Some(tls) => {
            let tls = Arc::new(
                ServerTls::load(name, tls, metrics)
                    .map_err(|error| ServeError::Tls(error, name))?,
            );
            let failures = metrics.tls_reload_failures.with_label_values(&[name]);
            files.push(Arc::clone(&tls) as _, failures);
            Some(tls)
        }
    };
    Ok(Listener::bind(name, settings, tls).await?)
}

fn announce(what: &str, settings: &ListenSettings, listener: &Listener) {
    let port = listener
        .local_addr()
        .map_or(settings.port, |bound| bound.port());
    tracing::info!(address = settings.address, port = u64::from(port), "{what}");
}

fn log_settings(settings: &Settings) {
    match &settings.store {
        StoreSettings::Etcd(etcd) => {
            let endpoints = format!("[{}]", etcd.endpoints.join(" "));
            tracing::debug!(endpoints, "etcd3 configuration");
        }
        StoreSettings::Embedded { path } => {
            tracing::debug!(path = %path.display(), "embedded configuration");
        }
    }
    let groups: Vec<String> = settings
        .groups
        .iter()
        .map(|(name, group)| format!("{name}:{}", group.slots))
        .collect();
    tracing::debug!(groups = format!("map[{}]", groups.join(" ")), "lock groups");
}

/// All tasks of the server. If one ends, the server ends.
#[derive(Default)]
struct Tasks {
    /// Each ends with its name, if it ends and should not.
    running: JoinSet<Option<String>>,
    shutdown: CancellationToken,
    connections: TaskTracker,
}

// === impl Tasks ===

impl Tasks {
    fn spawn(&mut self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.to_owned();
        self.running.spawn(async move {
            task.await;
            Some(name)
        });
    }

    /// A group's task, which ends when the group is configured no more and its last request is answered.
    fn spawn_until_unused(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            task.await;
            None
        });
    }

    /// The name of the first task that ends.
    async fn any_ended(&mut self) -> String {
        loop {
            match self.running.join_next().await {
                Some(Ok(Some(name))) => return name,
                Some(Ok(None)) => {}
                Some(Err(panicked)) => return panicked.to_string(),
                None => return "of the server".into(),
            }
        }
    }

    /// Stops accepting, and waits for the requests in flight.
    async fn drain(mut self) {
        self.shutdown.cancel();
        self.connections.close();
        if time::timeout(DRAIN, self.connections.wait()).await.is_err() {
            tracing::warn!("requests were cut off that did not end in time");
        }
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn invariant_10_a_task_that_ends_or_panics_ends_the_server() {
        let mut tasks = Tasks::default();
        tasks.spawn("that waits", std::future::pending());
        tasks.spawn("of group default", async {});
        assert_eq!(tasks.any_ended().await, "of group default");

        let mut tasks = Tasks::default();
        tasks.spawn("that waits", std::future::pending());
        tasks.spawn("of group default", async { panic!("as a bug would") });
        assert!(tasks.any_ended().await.contains("panicked"));
    }
}
