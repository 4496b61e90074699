//! What several tests of this crate share: a small mesh as people write it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use mesh_model::{MeshSnapshot, World};

/// A service with two endpoints, its client, and a rule about it.
pub(crate) const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop, labels: { team: a } }
spec:
  clusterIP: 10.96.0.20
  selector: { app: cart }
  ports:
    - { name: grpc, port: 8000, targetPort: 9000 }
---
apiVersion: v1
kind: Pod
metadata: { name: cart-1, namespace: shop, labels: { app: cart } }
spec:
  serviceAccountName: cart
  containers: [{ name: cart, image: example.com/cart, ports: [{ name: grpc, containerPort: 9000 }] }]
status: { phase: Running, podIP: 10.0.0.1, conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec:
  containers: [{ name: web, image: example.com/web }]
status: { phase: Running, podIP: 10.0.0.9, conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: cart, namespace: shop }
spec:
  host: cart.shop.svc.cluster.local
  trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } }
"#;

/// The endpoints of `cart`: the one with a Pod, and others without.
pub(crate) fn slice(more: &[&str]) -> String {
    let others: String = more.iter().map(|ip| format!("  - {{ addresses: [{ip}] }}\n")).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: cart-1, namespace: shop, labels: {{ kubernetes.io/service-name: cart }} }}\n\
         addressType: IPv4\nports: [{{ name: grpc, port: 9000, protocol: TCP }}]\nendpoints:\n  \
         - {{ addresses: [10.0.0.1], targetRef: {{ kind: Pod, namespace: shop, name: cart-1 }} }}\n{others}"
    )
}

/// Writes the mesh into `folder`.
pub(crate) fn write(folder: &Path) {
    std::fs::write(folder.join("shop.yaml"), SHOP).unwrap();
    std::fs::write(folder.join("slice.yaml"), slice(&["10.0.0.2"])).unwrap();
}

/// The mesh, read and built.
pub(crate) fn mesh() -> Arc<MeshSnapshot> {
    mesh_with("")
}

/// The mesh with some more objects.
pub(crate) fn mesh_with(objects: &str) -> Arc<MeshSnapshot> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    std::fs::write(folder.path().join("more.yaml"), objects).unwrap();
    let (changes, diagnostics) = mesh_platform::files::load_once(&[folder.path()]);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let mut world = World::new();
    changes.into_iter().for_each(|change| world.apply(change));
    world.snapshot().0
}

/// The node that the sidecar of `name` says it is.
pub(crate) fn node(name: &str, ip: &str) -> mesh_xds::Node {
    mesh_proto::json::from_yaml(&format!(
        "id: sidecar~{ip}~{name}.shop~shop.svc.cluster.local\nmetadata: {{NAMESPACE: shop, ISTIO_VERSION: 1.30.0, LABELS: {{app: {name}}}}}\n"
    ))
    .unwrap()
}
