//! Data subjects: inserted under the lock, found by name and by pseudonym, deleted.

use mlsdm::{
    domain::ids::SubjectRef,
    store::SubjectRow,
    testkit::{TestStore, on_every_database},
};

use crate::events::{create, engine};

on_every_database!(TestStore and PgBouncer:subjects_are_inserted_found_and_deleted, a_name_has_one_subject);

fn subject(number: u8) -> SubjectRow {
    SubjectRow {
        subject_ref: SubjectRef::new(u128::MAX - u128::from(number)),
        name_hmac: [number; 32],
        wrapped_key: vec![number, 0, 255],
        sealed_name: vec![],
    }
}

async fn subjects_are_inserted_found_and_deleted(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    create(store, &engine("f")).await;
    let mut transaction = store.begin(&name).await.unwrap();
    assert_eq!(transaction.subjects(&[[1; 32], [2; 32]]).await.unwrap(), []);
    transaction.insert_subjects(&[subject(1), subject(2)]).await.unwrap();
    transaction.insert_subjects(&[]).await.unwrap();
    assert_eq!(transaction.subjects(&[[2; 32], [3; 32]]).await.unwrap(), [subject(2)]);
    assert_eq!(transaction.subjects(&[]).await.unwrap(), []);
    transaction.commit().await.unwrap();

    assert_eq!(store.subject_by_name(&name, &[1; 32]).await.unwrap(), Some(subject(1)));
    assert_eq!(store.subject_by_name(&engine("f"), &[1; 32]).await.unwrap(), None);
    let refs = [1, 2, 3].map(|number| subject(number).subject_ref);
    assert_eq!(store.subjects_by_ref(&name, &refs).await.unwrap().len(), 2);

    let mut transaction = store.begin(&name).await.unwrap();
    assert!(transaction.delete_subject(refs[0]).await.unwrap());
    assert!(!transaction.delete_subject(refs[0]).await.unwrap());
    transaction.commit().await.unwrap();
    assert_eq!(store.subject_by_name(&name, &[1; 32]).await.unwrap(), None);
    assert_eq!(store.subjects_by_ref(&name, &refs).await.unwrap(), [subject(2)]);
}

async fn a_name_has_one_subject(test: TestStore) {
    let (store, name) = (&test.store, engine("e"));
    create(store, &name).await;
    let mut transaction = store.begin(&name).await.unwrap();
    assert!(transaction.insert_subjects(&[subject(1)]).await.unwrap());
    let twin = SubjectRow { subject_ref: SubjectRef::new(7), ..subject(1) };
    assert!(!transaction.insert_subjects(&[twin, subject(2)]).await.unwrap());
    let names = [subject(1).name_hmac];
    assert_eq!(transaction.subjects(&names).await.unwrap(), [subject(1)], "the first insert wins");
}
