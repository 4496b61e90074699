//! PeerAuthentication.

use super::{Report, selectors};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    let (selector, ports) = (spec.get("selector"), spec.get("portLevelMtls"));
    if ports.exists() && selector.get("matchLabels").is_empty() {
        report.error(
            &ports,
            "found portLevelMtls without a selector, expected one: ports are those of selected workloads",
        );
    }
    for (port, at) in ports.entries() {
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            report.error(&at, format!("found key {port:?}, expected a port from 1 to 65535"));
        }
    }
    selectors::workload(&selector, report);
}
