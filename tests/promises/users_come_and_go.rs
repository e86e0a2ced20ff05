//! Connect and disconnect against a refresh under way: nobody comes back by accident.

use std::time::Duration;

use tower_token::{ErrorKind, EventKind, GrantKey, TokenResponse};

use crate::support::{HOUR, Rig};

#[tokio::test]
async fn a_user_who_disconnects_during_a_refresh_stays_disconnected() {
    let mut rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    rig.token().await;
    rig.fake.begun(1).await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    rig.fake.release(1);
    rig.manager.shutdown(Duration::from_secs(10)).await.unwrap();
    assert!(rig.seen().contains(&EventKind::Discarded));
    let error = rig.sibling().await.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_user_who_connects_anew_during_a_refresh_keeps_the_new_tokens() {
    let rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    rig.token().await;
    rig.fake.begun(1).await;
    let anew = TokenResponse::new("anew")
        .refresh_token("other")
        .expires_in(HOUR);
    rig.manager.connect(&rig.key, anew).await.unwrap();
    rig.fake.release(1);
    assert_eq!(rig.token().await, "anew");
    rig.manager.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(
        rig.sibling().await.token(&rig.key).await.unwrap().expose(),
        "anew"
    );
}

#[tokio::test]
async fn a_disconnected_user_can_connect_again() {
    let rig = Rig::connected().await;
    let before = rig.manager.token(&rig.key).await.unwrap().serial();
    rig.manager.disconnect(&rig.key).await.unwrap();
    assert!(rig.manager.grants("ada").await.unwrap().is_empty());
    rig.manager
        .connect(&rig.key, rig.fake.consent())
        .await
        .unwrap();
    assert!(rig.manager.token(&rig.key).await.unwrap().serial() > before);
    // Disconnecting somebody who is not there is no error.
    rig.manager
        .disconnect(&GrantKey::new("fake", "nobody"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_users_grants_are_listed_and_nobody_elses() {
    let rig = Rig::connected().await;
    let work = rig.key.with_connection("work");
    let response = TokenResponse::new("w").metadata("account", "Work");
    rig.manager.connect(&work, response).await.unwrap();
    rig.manager
        .connect(&GrantKey::new("fake", "bob"), rig.fake.consent())
        .await
        .unwrap();
    let mut grants = rig.manager.grants("ada").await.unwrap();
    grants.sort_by_key(|grant| grant.key().connection().map(str::to_owned));
    assert_eq!(
        grants.iter().map(|g| g.key().clone()).collect::<Vec<_>>(),
        [rig.key.clone(), work]
    );
    assert_eq!(grants[1].metadata()["account"], "Work");
}
