use super::*;

fn key(id: MacKeyId, byte: u8) -> MacKey {
    MacKey::new(id, &Zeroizing::new([byte; KEY_BYTES]))
}

fn engine(name: &str) -> EngineId {
    name.parse().unwrap()
}

#[test]
fn a_mac_is_hmac_sha_256_over_the_documented_bytes() {
    let chain_hash = Sha256([9; 32]);
    let mac = key(3, 7).sign(&engine("default"), 258, chain_hash);
    // computed with Python's hmac module
    let expected = "ca70883e990863142680b53450ff95053e6a59c614b1a1ae7a265487cd863d37";
    assert_eq!((mac.key, hex::encode(mac.tag)), (3, expected.to_owned()));
}

#[test]
fn a_mac_is_valid_for_one_key_engine_position_and_history() {
    let (right, default, hash) = (key(1, 7), engine("default"), Sha256([9; 32]));
    let mac = right.sign(&default, 5, hash);
    assert!(right.verify(&default, 5, hash, &mac));
    assert!(!right.verify(&engine("other"), 5, hash, &mac));
    assert!(!right.verify(&default, 6, hash, &mac));
    assert!(!right.verify(&default, 5, Sha256([8; 32]), &mac));
    assert!(!key(1, 8).verify(&default, 5, hash, &mac));
    assert!(!key(2, 7).verify(&default, 5, hash, &mac), "the id is part of the MAC");
    for byte in 0..32 {
        let mut changed = mac;
        changed.tag[byte] ^= 1;
        assert!(!right.verify(&default, 5, hash, &changed), "byte {byte}");
    }
}

#[test]
fn the_newest_key_signs_until_another_is_selected() {
    let ring = MacRing::default();
    assert!(ring.current().is_none());
    ring.add(key(2, 0));
    ring.add(key(1, 0));
    assert_eq!(ring.current().unwrap().id(), 2);
    ring.select(1);
    assert_eq!(ring.current().unwrap().id(), 1);
    ring.select(3);
    assert_eq!(ring.current().unwrap().id(), 2, "key 3 is not read yet");
    ring.add(key(3, 0));
    assert_eq!(ring.current().unwrap().id(), 3);
}

#[test]
fn a_full_ring_keeps_the_key_of_new_events() {
    let ring = MacRing::default();
    ring.select(1);
    for id in 1..=MAC_KEYS_MAX as MacKeyId {
        ring.add(key(id, 0));
    }
    ring.add(key(5_000, 0));
    assert_eq!(ring.current().unwrap().id(), 1);
    assert!(ring.get(5_000).is_some() && ring.get(2).is_none());
}
