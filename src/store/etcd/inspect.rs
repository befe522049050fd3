//! The inspection of a cluster: each endpoint by itself, then what they have to agree on.

mod endpoint;
mod http;
mod known_bugs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use super::credentials::Credentials;
use crate::config::ClusterId;
use crate::lock::GroupName;
use crate::store::findings::{Check, Finding, Severity, StoreReport};
use endpoint::{EndpointReport, MemberFacts};
use known_bugs::{Version, known_bugs};

/// Inspects all configured endpoints at the same time, each within `timeout`. Writes nothing. `group` is one of the
/// configured groups, whose key is used to check permissions.
pub(crate) async fn inspect(
    credentials: &Credentials,
    group: &GroupName,
    timeout: Duration,
) -> StoreReport {
    let urls = &credentials.settings().endpoints;
    let reports = urls
        .iter()
        .map(|url| endpoint::inspect(url, credentials, group, timeout));
    let mut reports = join_all(reports).await;
    name_members(&mut reports);
    tolerate_single_failures(&mut reports);
    let required = credentials.settings().cluster_id;
    let mut findings = cluster_findings(&reports, required);
    let versions: Vec<Finding> = reports.iter().flat_map(version_findings).collect();
    let mut endpoints = Vec::new();
    for report in reports {
        endpoints.push(report.facts);
        findings.extend(report.findings);
    }
    // Many, and the same each time, so they are last among the warnings.
    findings.extend(versions);
    StoreReport::new(endpoints, None, findings)
}

/// Turns the errors of endpoints that cannot be used into warnings if another one can: then a server works.
fn tolerate_single_failures(reports: &mut [EndpointReport]) {
    if !reports.iter().any(|report| report.is_usable) {
        return;
    }
    for report in reports.iter_mut() {
        for finding in &mut report.findings {
            // An alarm is one of the whole cluster.
            if finding.severity == Severity::Error && finding.check != Check::Alarm {
                finding.severity = Severity::Warning;
            }
        }
    }
}

/// Adds the name of a member that did not tell it, as a learner does not, from the list of another one.
fn name_members(reports: &mut [EndpointReport]) {
    let lists = reports.iter().filter_map(|report| report.members.as_ref());
    let names: BTreeMap<String, String> = lists
        .flatten()
        .map(|member| (member.id.clone(), member.name.clone()))
        .collect();
    for report in reports {
        let id = report.facts.member_id.as_ref();
        report.facts.member = id.and_then(|id| names.get(id)).cloned();
    }
}

/// Checks that all endpoints belong to one cluster, the `required` one if the configuration names it, and which of its
/// members they name.
fn cluster_findings(reports: &[EndpointReport], required: Option<ClusterId>) -> Vec<Finding> {
    let mut clusters = BTreeMap::<&str, Vec<&EndpointReport>>::new();
    for report in reports {
        if let Some(id) = &report.facts.cluster_id {
            clusters.entry(id).or_default().push(report);
        }
    }
    let mut findings = Vec::new();
    match required.map(|id| id.to_string()) {
        Some(required) => {
            let foreign = clusters.iter().filter(|(id, _)| **id != required);
            let is_used = clusters.contains_key(&*required);
            findings.extend(
                foreign.map(|(id, reports)| foreign_cluster(id, reports, &required, is_used)),
            );
            clusters.retain(|id, _| *id == required);
        }
        None if clusters.len() > 1 => findings.push(different_clusters(&clusters)),
        None => {}
    }
    for reports in clusters.values() {
        let members = reports.iter().find_map(|report| report.members.as_ref());
        findings.extend(members.map(|members| members_finding(reports, members)));
    }
    findings
}

/// Describes endpoints that belong to another cluster than the one that the configuration names. They are not used.
fn foreign_cluster(
    id: &str,
    reports: &[&EndpointReport],
    required: &str,
    is_used: bool,
) -> Finding {
    Finding {
        severity: match is_used {
            true => Severity::Warning,
            false => Severity::Error,
        },
        check: Check::Cluster,
        subjects: endpoints(reports),
        message: format!(
            "the endpoint belongs to the cluster {id}, and is not used: etcd3.cluster_id is \"{required}\""
        ),
        remedy: Some(
            "remove the endpoint from etcd3.endpoints, or, if this is the right cluster, for example after a \
             restoration, change etcd3.cluster_id"
                .into(),
        ),
    }
}

fn different_clusters(clusters: &BTreeMap<&str, Vec<&EndpointReport>>) -> Finding {
    let list = clusters.iter().map(|(id, reports)| {
        let endpoints = reports.iter().map(|report| &*report.facts.endpoint);
        format!("{id} ({})", endpoints.collect::<Vec<_>>().join(", "))
    });
    let list: Vec<String> = list.collect();
    Finding {
        severity: Severity::Error,
        check: Check::Cluster,
        subjects: endpoints(clusters.values().flatten()),
        message: format!(
            "the endpoints belong to different clusters: {}; no lock can be granted",
            list.join(" and ")
        ),
        remedy: Some(
            "remove the endpoints of the wrong cluster from etcd3.endpoints, or name the right one with \
             etcd3.cluster_id = \"ID\""
                .into(),
        ),
    }
}

/// Compares the members of one cluster with the endpoints that belong to it.
fn members_finding(reports: &[&EndpointReport], members: &[MemberFacts]) -> Finding {
    let voters: Vec<&MemberFacts> = members.iter().filter(|member| !member.is_learner).collect();
    let ids = reports
        .iter()
        .filter_map(|report| report.facts.member_id.as_deref());
    let ids: BTreeSet<&str> = ids.collect();
    let named = voters.iter().filter(|member| ids.contains(&*member.id));
    let (named, count) = (named.count(), voters.len());
    let finding = |severity, message| Finding {
        severity,
        check: Check::Members,
        subjects: endpoints(reports),
        message,
        remedy: None,
    };
    let message = match count {
        1 => "the cluster has one voting member".to_owned(),
        count => format!("the cluster has {count} voting members; the endpoints reached {named}"),
    };
    // An endpoint that no member advertises may be a load balancer.
    let is_direct = |report: &&EndpointReport| {
        let urls = members.iter().flat_map(|member| &member.client_urls);
        urls.into_iter()
            .any(|url| url.trim_end_matches('/') == report.facts.endpoint)
    };
    if let [only] = reports
        && count > 1
        && is_direct(only)
    {
        let others = voters.iter().filter(|member| !ids.contains(&*member.id));
        let urls = others.flat_map(|member| member.client_urls.iter().map(String::as_str));
        let remedy = format!(
            "add the other members to etcd3.endpoints: {}",
            urls.collect::<Vec<_>>().join(", ")
        );
        return finding(
            Severity::Warning,
            format!(
                "the cluster has {count} voting members, but the server knows only one of them"
            ),
        )
        .with_remedy(remedy);
    }
    finding(Severity::Ok, message)
}

/// Looks the version of a member up in the list of known bugs.
fn version_findings(report: &EndpointReport) -> Vec<Finding> {
    let url = &*report.facts.endpoint;
    // An endpoint that did not reply has a finding of its own.
    if report.facts.cluster_id.is_none() && report.facts.version.is_none() {
        return Vec::new();
    }
    let text = report.facts.version.as_deref().unwrap_or("not known");
    let Some(version) = Version::parse(text) else {
        let message = format!("the version of etcd is {text}");
        return vec![Finding::new(
            Severity::Unknown,
            Check::Version,
            url,
            message,
        )];
    };
    let is_single = (report.members.as_ref()).is_none_or(|members| members.len() == 1);
    let mut findings = Vec::new();
    for (bug, fixed) in known_bugs(version, is_single) {
        let message = format!("etcd {version} {bug}");
        let finding = Finding::new(Severity::Warning, Check::Version, url, message);
        findings.push(finding.with_remedy(format!("upgrade etcd to {fixed} or newer")));
    }
    if findings.is_empty() {
        let message = format!("etcd {version} has no known bug that affects locks");
        findings.push(Finding::new(Severity::Ok, Check::Version, url, message));
    }
    findings
}

fn endpoints<'a>(reports: impl IntoIterator<Item = &'a &'a EndpointReport>) -> Vec<String> {
    let reports = reports.into_iter();
    reports
        .map(|report| report.facts.endpoint.clone())
        .collect()
}

#[cfg(test)]
mod tests;
