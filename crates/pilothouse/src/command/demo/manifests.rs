//! The demo's manifests: `examples/grpc-balance/`, carried in the binary, with
//! the addresses, ports and policy of this run put in.
//!
//! Invariant: a value is exchanged within its line, so that file and line in
//! `explain` are those of the files in `examples/grpc-balance/`. Only the
//! replicas' own file grows or shrinks with their number.

use std::net::Ipv4Addr;
use std::path::Path;

/// The folder that the manifests come from, as `explain` shows it.
pub(super) const FOLDER: &str = "examples/grpc-balance";

/// What one run of the demo is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The service's port, to which the client connects.
    pub(super) port: u16,
    /// The replicas' port, to which it leads.
    pub(super) target_port: u16,
    /// The client's workload.
    pub(super) frontend: Ipv4Addr,
    /// The servers.
    pub(super) replicas: Vec<ReplicaPlan>,
    /// `loadBalancer.simple` in the DestinationRule.
    pub(super) policy: &'static str,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicaPlan {
    /// Name of its Pod.
    pub(super) name: String,
    /// Where its sidecar listens: the Pod's address.
    pub(super) pod: Ipv4Addr,
    /// Where the server itself listens.
    pub(super) application: Ipv4Addr,
}

impl Plan {
    /// A plan with the addresses that the manifests have, for `replicas`
    /// servers (at most [`REPLICAS_MAX`]).
    pub(super) fn new(replicas: u8, (port, target_port): (u16, u16), policy: &'static str) -> Self {
        let replica = |number: u8| ReplicaPlan {
            name: format!("backend-{number}"),
            pod: Ipv4Addr::new(127, 0, 0, 20 + number),
            application: Ipv4Addr::new(127, 0, 0, 120 + number),
        };
        let replicas = (1..=replicas.min(REPLICAS_MAX)).map(replica).collect();
        Self { port, target_port, frontend: FRONTEND, replicas, policy }
    }

    /// The files as name and text.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let (port, target) = (format!(" port: {}", self.port), format!("ort: {}", self.target_port));
        vec![
            ("backend.yaml", BACKEND.replace(" port: 8000", &port).replace("ort: 9000", &target)),
            ("destination-rule.yaml", RULE.replace("ROUND_ROBIN", self.policy)),
            ("frontend.yaml", PODS_CLIENT.replace(&FRONTEND.to_string(), &self.frontend.to_string())),
            ("backend-pods.yaml", self.pods().replace("ort: 9000", &target)),
        ]
    }

    /// Writes the files into `folder`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        self.files().into_iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
    }

    /// The slice with one endpoint for each replica, then one Pod for each:
    /// made from what the file says of the first.
    fn pods(&self) -> String {
        let mut documents = PODS_SERVER.split_inclusive("---\n");
        let slice = documents.next().unwrap_or_default();
        let pod = documents.next().unwrap_or_default().trim_end_matches("---\n");
        let endpoint = slice.lines().find(|line| line.contains("name: backend-1 }")).unwrap_or_default();
        let head = slice.split_inclusive('\n').take_while(|line| !line.contains("name: backend-1 }"));
        let mut text: String = head.collect();
        for replica in &self.replicas {
            text.push_str(&replica.put_into(endpoint));
            text.push('\n');
        }
        for replica in &self.replicas {
            text.push_str("---\n");
            text.push_str(&replica.put_into(pod));
        }
        text
    }
}

impl ReplicaPlan {
    /// `text`, which speaks of the first replica, made to speak of this one.
    fn put_into(&self, text: &str) -> String {
        text.replace("backend-1", &self.name)
            .replace(FIRST_APPLICATION, &self.application.to_string())
            .replace(FIRST_POD, &self.pod.to_string())
    }
}

/// More replicas than this show nothing new, and leave their address range.
pub(super) const REPLICAS_MAX: u8 = 50;
/// The ports in the manifests, which are tried first: the service's and the
/// replicas'.
pub(super) const PORTS: (u16, u16) = (8000, 9000);

const FRONTEND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const FIRST_POD: &str = "127.0.0.21";
const FIRST_APPLICATION: &str = "127.0.0.121";

const BACKEND: &str = include_str!("../../../../../examples/grpc-balance/backend.yaml");
const RULE: &str = include_str!("../../../../../examples/grpc-balance/destination-rule.yaml");
const PODS_CLIENT: &str = include_str!("../../../../../examples/grpc-balance/frontend.yaml");
const PODS_SERVER: &str = include_str!("../../../../../examples/grpc-balance/backend-pods.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    fn file(plan: &Plan, name: &str) -> String {
        plan.files().into_iter().find(|(n, _)| *n == name).map(|(_, text)| text).unwrap_or_default()
    }

    #[test]
    fn as_many_replicas_on_the_same_port_are_the_files_as_they_stand() {
        let plan = Plan::new(3, PORTS, "ROUND_ROBIN");
        let files = [BACKEND, RULE, PODS_CLIENT, PODS_SERVER];
        for ((name, text), original) in plan.files().into_iter().zip(files) {
            assert_eq!(text, original, "{name}");
        }
    }

    #[test]
    fn port_policy_and_number_of_replicas_are_put_in() {
        let plan = Plan::new(5, (41234, 41235), "RANDOM");
        assert!(file(&plan, "backend.yaml").contains("port: 41234\n      targetPort: 41235"));
        assert!(file(&plan, "destination-rule.yaml").contains("simple: RANDOM"));
        let pods = file(&plan, "backend-pods.yaml");
        assert_eq!(pods.matches("kind: Pod\n").count(), 5);
        assert_eq!(pods.matches("addresses: [").count(), 5);
        assert!(pods.contains("containerPort: 41235"), "{pods}");
        assert!(pods.contains("pilothouse.io/application-address: 127.0.0.125"), "{pods}");
        assert!(!pods.contains("9000"), "{pods}");
    }
}
