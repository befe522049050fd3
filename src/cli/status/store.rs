//! The store, as `airlock status` sees it.

use crate::cli::context::StoreContext;
use crate::config::StoreSettings;
use crate::status::StoreView;
use crate::store::Endpoints;
use crate::store::findings::{Check, Finding, Severity, StoreReport};
use crate::store::inspect::inspect;
use crate::text::explain::chain;

/// Inspects the store: whether it accepts writes, and which endpoints reply.
pub(super) async fn store_view(context: &StoreContext) -> StoreView {
    let view = context.store_view();
    match &context.settings.store {
        StoreSettings::Etcd(_) => of_etcd(view, inspect(&context.settings).await),
        StoreSettings::Embedded { .. } => {
            let Some(group) = context.settings.groups.keys().next() else {
                return view;
            };
            let result = context.store.check_writable(group).await;
            let problem = result.err().map(|error| chain(&error));
            StoreView {
                writable: problem.is_none(),
                problem,
                ..view
            }
        }
    }
}

fn of_etcd(view: StoreView, report: StoreReport) -> StoreView {
    let replied = report.endpoints.iter();
    let replied = replied.filter(|endpoint| endpoint.version.is_some());
    let mut clusters = report
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.cluster_id.clone());
    let etcd = Endpoints {
        cluster_id: clusters.next(),
        configured: report.endpoints.len(),
        replied: replied.count(),
    };
    let errors: Vec<String> = findings(&report, Severity::Error).collect();
    StoreView {
        writable: errors.is_empty(),
        problem: (!errors.is_empty()).then(|| errors.join("; ")),
        notices: findings(&report, Severity::Warning).collect(),
        etcd: Some(etcd),
        ..view
    }
}

/// Returns the findings about the present state of the cluster. Versions and forgotten members are not among them: they
/// stay the same until a person changes them, and `airlock check-config --online` reports them.
fn findings(report: &StoreReport, severity: Severity) -> impl Iterator<Item = String> {
    let findings = report.findings.iter();
    let findings = findings.filter(move |finding| {
        let is_permanent = matches!(finding.check, Check::Version | Check::Members);
        finding.severity == severity && !is_permanent
    });
    findings.map(Finding::describe)
}
