//! What people already have loads without an error.

use std::time::Duration;

use mesh_e2e::mesh::{Mesh, Pilot};
use mesh_e2e::sidecar::{Kind, Node, Sidecar};
use mesh_e2e::{binary, wait};

const LIMIT_S: u64 = 60;

#[tokio::test]
async fn bookinfo_loads_without_an_error() {
    let samples = binary::workspace().join("../shared/istio/samples/bookinfo");
    if !samples.is_dir() {
        eprintln!("skipped: {} is not here", samples.display());
        return;
    }
    wait::bounded(LIMIT_S, async {
        let pilot = Pilot::start(&samples).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let said = pilot.process.output();
        assert!(!said.contains("ERROR"), "{said}");
        let registry = pilot.page("/debug/registryz").await.body;
        for service in ["productpage", "reviews", "ratings", "details"] {
            assert!(registry.contains(&format!("{service}.default.svc.cluster.local")), "{service}: {registry}");
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_kinds_and_broken_objects_cost_only_themselves() {
    wait::bounded(LIMIT_S, async {
        let mesh = Mesh::new(1);
        mesh.write(
            "unknown.yaml",
            "apiVersion: example.com/v1\nkind: Gizmo\nmetadata: {name: g, namespace: default}\n",
        );
        mesh.write("wrong-type.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: wrong}\nspec: {ports: 8000}\n");
        mesh.write("not-yaml.yaml", "{[}\n");
        let pilot = Pilot::start(mesh.path()).await;
        let node = Node::uncaptured("frontend", mesh.frontend());
        let _sidecar = Sidecar::start(&Kind::Native, &node, pilot.grpc).await;
        assert!(pilot.page("/debug/registryz").await.body.contains("backend.default.svc.cluster.local"));
        let said = pilot.process.output();
        for place in ["wrong-type.yaml", "not-yaml.yaml", "Gizmo"] {
            assert!(said.contains(place), "{place} is reported: {said}");
        }
    })
    .await;
}
