//! The mesh that the control plane is started on, and the changes made to it.
//!
//! Services are spread over a few ports, as teams do: a route table holds one
//! port's services, and is sent whole when one of them changes.

use std::fmt::Write;
use std::io;
use std::path::Path;

/// The folder of manifests, inside the measurement's own.
pub(super) const MANIFESTS: &str = "manifests";
/// Ports that the services are spread over.
pub(super) const PORTS: usize = 10;
/// Endpoints of every service.
const ENDPOINTS: usize = 3;
const FIRST_PORT: usize = 8000;

/// What changes while the fleet is connected. Both concern `service-0`.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// One address of one EndpointSlice.
    Endpoint,
    /// One header value in one VirtualService.
    VirtualService,
}

impl Change {
    /// For the row's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint change",
            Self::VirtualService => "VirtualService change",
        }
    }

    /// Type and name of the resource by which a proxy sees the change.
    pub(super) fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Endpoint => (mesh_proto::types::ENDPOINT, "outbound|8000||service-0.default.svc.cluster.local"),
            Self::VirtualService => (mesh_proto::types::ROUTE, "8000"),
        }
    }

    /// Writes the `number`th state of the changing object; each differs from the one before.
    pub(super) fn apply(self, dir: &Path, number: usize) -> io::Result<()> {
        match self {
            Self::Endpoint => save(dir, "changing-endpoints.yaml", &endpoints(0, 100 + number % 100)),
            Self::VirtualService => save(dir, "changing-rule.yaml", &virtual_service(number + 1)),
        }
    }
}

/// Writes all manifests of so many services.
pub(super) fn write(dir: &Path, services: usize) -> io::Result<()> {
    std::fs::create_dir_all(dir.join(MANIFESTS))?;
    let mut text = String::from("apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n");
    for number in 0..services {
        text += &service(number);
        if number > 0 {
            text += &endpoints(number, 0);
        }
    }
    save(dir, "services.yaml", &text)?;
    save(dir, "changing-endpoints.yaml", &endpoints(0, 99))?;
    save(dir, "changing-rule.yaml", &virtual_service(0))
}

/// Renames a whole file into place, as editors and Kubernetes' own volume mounts do.
fn save(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let aside = dir.join(name);
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, dir.join(MANIFESTS).join(name))
}

fn port(number: usize) -> usize {
    FIRST_PORT + number % PORTS
}

fn service(number: usize) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: service-{number}, namespace: default}}\nspec:\n  \
         clusterIP: 10.96.{}.{}\n  selector: {{app: service-{number}}}\n  ports: [{{name: http, port: {}, targetPort: 8080}}]\n",
        number / 250,
        number % 250 + 1,
        port(number),
    )
}

fn endpoints(number: usize, last: usize) -> String {
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: service-{number}-1\n  namespace: default\n  \
         labels: {{kubernetes.io/service-name: service-{number}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n",
    );
    for endpoint in 0..ENDPOINTS {
        let last = if endpoint == 0 { last } else { 200 + endpoint };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "- {{addresses: [10.{}.{}.{last}], conditions: {{ready: true}}}}",
            100 + number / 250,
            number % 250
        );
    }
    text
}

fn virtual_service(number: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: service-0, namespace: default}}\nspec:\n  \
         hosts: [service-0]\n  http:\n  - headers: {{request: {{set: {{x-change: \"{number}\"}}}}}}\n    \
         route: [{{destination: {{host: service-0}}}}]\n",
    )
}
