//! Invariant 8: a runtime that is gone wedges nothing.

use tower_token::ErrorKind;

use crate::support::Rig;

#[test]
fn a_refresh_whose_runtime_is_gone_fails_and_does_not_hang() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::connected());
    rig.until_due();
    rig.fake.hold();
    runtime.block_on(async {
        rig.token().await;
        rig.fake.begun(1).await;
    });
    drop(runtime);

    let other = tokio::runtime::Runtime::new().unwrap();
    other.block_on(async {
        // Still usable, and so still served.
        assert_eq!(rig.token().await, "a0");
        rig.until_expired();
        for _ in 0..2 {
            let error = rig.manager.token(&rig.key).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TokenService);
        }
        let error = rig
            .manager
            .connect(&rig.key, rig.fake.consent())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShutDown);
    });
}
