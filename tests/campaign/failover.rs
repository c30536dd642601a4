//! A highly available PostgreSQL (Patroni, etcd, `HAProxy`) whose primary fails.
//!
//! A fault ends when there is a primary again: the time until then is Patroni's.

mod heavy {
    use std::time::Duration;

    use mlsdm::testkit::patroni::HaCluster;
    use tokio::time::sleep;

    use crate::{report::Promise, run::Scenario};

    /// The time for the return of a node.
    const RETURN: Duration = Duration::from_secs(10);

    /// One fault of the primary, and what repairs the node afterwards.
    async fn fails(
        name: &'static str,
        promise: Promise,
        fault: impl AsyncFnOnce(&HaCluster, usize),
        repair: impl FnOnce(&HaCluster, usize),
    ) {
        let cluster = HaCluster::start().await;
        let mut run = Scenario::new(name, &cluster.url()).start().await;
        let primary = cluster.until_primary().await;
        run.fault(async |_| fault(&cluster, primary).await).await;
        // the return of the former primary is a fault too
        run.fault(async |_| {
            repair(&cluster, primary);
            sleep(RETURN).await;
        })
        .await;
        run.finish().await.keeps(promise);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_primary_is_replaced_without_a_loss() {
        let fault = async |cluster: &HaCluster, primary| {
            cluster.kill(primary);
            cluster.until_replaced(primary).await;
        };
        fails("Patroni: primary killed", Promise::TOLD, fault, HaCluster::start_node).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_primary_that_is_cut_off_is_replaced_without_a_loss() {
        let fault = async |cluster: &HaCluster, primary| {
            cluster.cut_off(primary);
            cluster.until_replaced(primary).await;
        };
        fails("Patroni: primary cut off", Promise::TOLD, fault, HaCluster::connect).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_of_the_primary_costs_no_answer() {
        let fault = async |cluster: &HaCluster, primary| {
            cluster.fill_disk(primary);
            sleep(Duration::from_secs(20)).await;
            cluster.free_disk(primary);
            cluster.until_primary().await;
        };
        fails("Patroni: disk of the primary full, 20 s", Promise::STANDARD, fault, |_, _| {}).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_paused_primary_is_replaced_without_a_loss() {
        let fault = async |cluster: &HaCluster, primary| {
            cluster.pause(primary);
            cluster.until_replaced(primary).await;
        };
        fails("Patroni: primary paused", Promise::TOLD, fault, HaCluster::resume).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_switch_over_costs_no_answer() {
        let fault = async |cluster: &HaCluster, _| cluster.switch_over().await;
        fails("Patroni: switched over", Promise::STANDARD, fault, |_, _| {}).await;
    }
}
