//! The encoding of the chain is fixed: these digests were computed by an independent program.

use super::*;
use crate::domain::ids::{CommandId, SubjectRef};

fn engine() -> EngineId {
    "default".parse().unwrap()
}

fn record() -> Record {
    Record {
        position: 42,
        command_id: CommandId::new(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        kind: "step.admitted".to_owned(),
        schema_version: 1,
        decide_version: 3,
        recorded_at: 1_700_000_000_000_000,
        step: Some(7),
        request_id: Some("req-1".to_owned()),
        actor: None,
        subject_ref: Some(SubjectRef::new(99)),
        trace_id: Some([5; 16]),
        payload: br#"{"a":1.10}"#.to_vec(),
        content_hash: Some(Sha256([9; 32])),
        leaf_hash: Sha256([0; 32]),
        chain_hash: Sha256([0; 32]),
        mac: None,
    }
}

#[test]
fn the_encoding_is_frozen() {
    let leaf = leaf(&engine(), &record());
    assert_eq!(
        leaf.to_string(),
        "d6477d1a26ac0813500c9ea544d0156ffc2f351959e237964f690d60798a23de"
    );
    let genesis = genesis(&engine());
    assert_eq!(
        genesis.to_string(),
        "46ecfe090a76bf97e476e334fda15167daee047357de65823574e0cfb25f91ee"
    );
    assert_eq!(
        link(genesis, 42, leaf).to_string(),
        "2d164b0293a22ca92ce8755b7079c9a7a419603808a3316ad54350e4219e7906"
    );
    let hash = |vector: Option<Vec<u8>>| content_hash(b"text", vector.as_deref()).to_string();
    assert_eq!(hash(None), "6d5632afd80f4ca41c9373c5e28177155963cd931003bc47f67f38f094f58c33");
    assert_eq!(
        hash(Some(vec![])),
        "87d51f8807ff30f5980b266a7c0ed5745a84e504192c6b71cf15ba118162ea6d"
    );
}

#[test]
fn every_column_except_the_hashes_is_covered() {
    let base = leaf(&engine(), &record());
    let changes: [fn(&mut Record); 14] = [
        |r| r.position += 1,
        |r| r.command_id = CommandId::new(0),
        |r| r.kind.push(' '),
        |r| r.schema_version += 1,
        |r| r.decide_version += 1,
        |r| r.recorded_at += 1,
        |r| r.step = None,
        |r| r.request_id = Some(String::new()),
        |r| r.actor = Some(String::new()),
        |r| r.subject_ref = None,
        |r| r.trace_id = None,
        |r| r.payload.clear(),
        |r| r.content_hash = None,
        |r| r.content_hash = Some(Sha256([0; 32])),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut edited = record();
        change(&mut edited);
        assert_ne!(leaf(&engine(), &edited), base, "change {number}");
    }
    assert_ne!(leaf(&"other".parse().unwrap(), &record()), base);
    let hashed = Record { leaf_hash: base, chain_hash: base, ..record() };
    assert_eq!(leaf(&engine(), &hashed), base);
}

#[test]
fn null_and_empty_differ_and_columns_have_boundaries() {
    let with = |request_id: Option<&str>, actor: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        leaf(&engine(), &Record { request_id: owned(request_id), actor: owned(actor), ..record() })
    };
    let leaves = [
        with(None, None),
        with(Some(""), None),
        with(None, Some("")),
        with(Some("ab"), Some("c")),
        with(Some("a"), Some("bc")),
        with(Some("abc"), None),
        with(None, Some("abc")),
    ];
    let distinct: std::collections::BTreeSet<_> = leaves.iter().collect();
    assert_eq!(distinct.len(), leaves.len());
}
