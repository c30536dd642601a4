//! Keys and sealing: sealed bytes open with their own key and associated data only.

use std::os::unix::fs::PermissionsExt;

use super::*;

const COMMAND: CommandId = CommandId::new(7);

fn content_key(byte: u8) -> ContentKey {
    ContentKey::from_text(&hex::encode([byte; 32])).unwrap()
}

fn subject(engine: &str, number: u128) -> SubjectKey {
    SubjectKey::generate(&engine.parse().unwrap(), SubjectRef::new(number)).unwrap()
}

#[test]
fn sealed_bytes_open_with_their_associated_data_only() {
    let key = subject("e", 1);
    let sealed = key.seal(COMMAND, Column::Text, b"hello").unwrap();
    assert_eq!(key.open(COMMAND, Column::Text, &sealed).unwrap(), b"hello");
    assert_eq!(key.open(COMMAND, Column::Vector, &sealed), Err(SealError::Damaged));
    assert_eq!(key.open(CommandId::new(8), Column::Text, &sealed), Err(SealError::Damaged));
    let elsewhere = SubjectKey::new("f".parse().unwrap(), SubjectRef::new(1), key.root.clone());
    assert_eq!(elsewhere.open(COMMAND, Column::Text, &sealed), Err(SealError::Damaged));
    let other = SubjectKey::new("e".parse().unwrap(), SubjectRef::new(2), key.root);
    assert_eq!(other.open(COMMAND, Column::Text, &sealed), Err(SealError::Damaged));
}

#[test]
fn any_flipped_byte_is_detected() {
    let key = subject("e", 1);
    let sealed = key.seal(COMMAND, Column::Text, b"hello").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key.open(COMMAND, Column::Text, &changed), Err(SealError::Damaged));
    }
    for length in 0..sealed.len() {
        assert!(key.open(COMMAND, Column::Text, &sealed[..length]).is_err());
    }
}

#[test]
fn equal_texts_are_sealed_differently() {
    let key = subject("e", 1);
    let seal = || key.seal(COMMAND, Column::Text, b"").unwrap();
    assert_ne!(seal(), seal());
}

#[test]
fn wrapped_keys_are_unwrapped_by_their_content_key_only() {
    let (engine, right, wrong) = ("e".parse().unwrap(), content_key(1), content_key(2));
    let key = subject("e", 5);
    let wrapped = right.wrap_subject_key(&key).unwrap();
    let back = right.unwrap_subject_key(&engine, SubjectRef::new(5), &wrapped).unwrap();
    assert_eq!(back.hmac("prompt", b"x"), key.hmac("prompt", b"x"));
    let name = key.seal_name("Ana").unwrap();
    assert_eq!(back.open_name(&name).unwrap(), "Ana");
    let opened = |key: &ContentKey, subject| {
        key.unwrap_subject_key(&engine, SubjectRef::new(subject), &wrapped).err()
    };
    assert_eq!(opened(&wrong, 5), Some(SealError::WrongContentKey));
    assert_eq!(opened(&right, 6), Some(SealError::WrongContentKey));

    let index = IndexKey::generate().unwrap();
    for wrapped_for in [1, 2] {
        let wrapped = right.wrap_index_key(&engine, wrapped_for, &index).unwrap();
        let mut row = EngineRow {
            engine_id: engine.clone(),
            created_at: 0,
            log_format: wrapped_for,
            index_key: wrapped,
        };
        assert_eq!(wrong.unwrap_index_key(&row).err(), Some(SealError::WrongContentKey));
        for column in [wrapped_for, 0, 1, 2, 3, u32::MAX] {
            row.log_format = column;
            let (back, format) = right.unwrap_index_key(&row).unwrap();
            assert_eq!(format, wrapped_for, "the column says {column}");
            assert_eq!(back.name_hmac(&engine, "Ana"), index.name_hmac(&engine, "Ana"));
        }
    }
}

#[test]
fn hashes_differ_by_label_engine_and_key() {
    let key = subject("e", 1);
    assert_ne!(key.hmac("prompt", b"x"), key.hmac("body", b"x"));
    assert_ne!(key.hmac("prompt", b"x"), subject("e", 1).hmac("prompt", b"x"));
    let index = IndexKey::generate().unwrap();
    let hmac = |engine: &str, name| index.name_hmac(&engine.parse().unwrap(), name);
    assert_ne!(hmac("ab", "c"), hmac("a", "bc"));
}

#[test]
fn an_hmac_equals_that_of_the_standard() {
    let key = content_key(7).0;
    let mut mac = <HmacOf<Sha256> as Mac>::new_from_slice(key.as_slice()).unwrap();
    mac.update(&5_u64.to_be_bytes());
    mac.update(b"hello");
    assert_eq!(hmac(&key, &[b"hello"]), <[u8; 32]>::from(mac.finalize().into_bytes()));
}

#[test]
fn a_content_key_is_read_from_hex_and_base64() {
    let bytes: Vec<u8> = (0..32_u8).map(|n| n * 8 + 3).collect();
    let expected = ContentKey::from_text(&format!(" {}\n", hex::encode(&bytes))).unwrap();
    assert_eq!(expected.0.as_slice(), bytes);
    let standard = "AwsTGyMrMztDS1NbY2tze4OLk5ujq7O7w8vT2+Pr8/s=";
    let url_safe = "AwsTGyMrMztDS1NbY2tze4OLk5ujq7O7w8vT2-Pr8_s";
    for text in [standard, url_safe] {
        assert_eq!(ContentKey::from_text(text).unwrap().0.as_slice(), bytes);
    }
    let bad = ["", "secret", &"0".repeat(63), &"g".repeat(64), &"A".repeat(42), &"A".repeat(45)];
    for text in bad {
        assert_eq!(ContentKey::from_text(text).err(), Some(SealError::BadKey));
    }
    assert_eq!(
        ContentKey::from_text(&"/".repeat(43)).err(),
        Some(SealError::BadKey),
        "has two excess bits"
    );
}

#[test]
fn a_key_file_is_created_once_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlsdm.db.key");
    assert!(matches!(ContentKey::from_file(&path), Err(SealError::KeyFile { .. })));
    let made = ContentKey::load_or_create(&path).unwrap();
    let again = ContentKey::load_or_create(&path).unwrap();
    assert_eq!(made.0, again.0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    fs::write(&path, "").unwrap();
    assert_eq!(ContentKey::load_or_create(&path).err(), Some(SealError::BadKey));
}

#[test]
fn a_mac_key_opens_under_its_id_only() {
    let (right, wrong) = (ContentKey(random_key().unwrap()), ContentKey(random_key().unwrap()));
    let (made, wrapped) = right.make_mac_key(1).unwrap();
    let engine: EngineId = "e".parse().unwrap();
    let opened = right.unwrap_mac_key(1, &wrapped).unwrap();
    let mac = made.sign(&engine, 1, crate::domain::ids::Sha256::default());
    assert!(opened.verify(&engine, 1, crate::domain::ids::Sha256::default(), &mac));
    assert!(right.unwrap_mac_key(2, &wrapped).is_err());
    assert!(wrong.unwrap_mac_key(1, &wrapped).is_err());
}
