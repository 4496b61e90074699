//! The harness proves itself, so that what fails elsewhere is the mesh.

use mesh_e2e::address::Network;
use mesh_e2e::grpc::{Client, Replica, Reply, spread};
use mesh_e2e::wait;

#[tokio::test]
async fn a_client_without_a_mesh_reaches_one_replica_only() {
    wait::bounded(20, async {
        let network = Network::new();
        let replica = Replica::start("replica-1", network.free(1));
        let client = Client::connect(replica.address, "backend").await.unwrap();
        let spread = spread(&client, 10).await.unwrap();
        assert_eq!(spread.into_iter().collect::<Vec<_>>(), [("replica-1".to_owned(), 10)]);
        assert_eq!((replica.calls(), replica.connections()), (10, 1));
        replica.answer_with(14);
        assert!(client.call().await.and_then(Reply::replica).unwrap_err().contains("Some(14)"));
        drop(replica);
        wait::until("the connection ends with its replica", std::time::Duration::from_secs(5), || async {
            client.call().await.map_or(Ok(()), |reply| Err(format!("{reply:?}")))
        })
        .await;
    })
    .await;
}
