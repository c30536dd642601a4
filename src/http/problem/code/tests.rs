use std::collections::HashSet;

use super::Code;

#[test]
fn every_code_is_unique_well_formed_and_in_order() {
    let texts: Vec<_> = Code::ALL.iter().map(|code| code.text()).collect();
    assert!(texts.is_sorted(), "{texts:?}");
    assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
    let titles: HashSet<_> = Code::ALL.iter().map(|code| code.title()).collect();
    assert_eq!(titles.len(), texts.len());
    for text in texts {
        let (letter, number) = text.split_at(1);
        assert_eq!(letter, "E");
        assert!((101..1000).contains(&number.parse::<u32>().unwrap()), "{text}");
    }
}

#[test]
fn every_status_is_valid_and_only_429_and_503_have_a_retry_after() {
    for code in Code::ALL {
        assert_eq!(code.status().as_u16(), code.status_number(), "{code:?}");
        let temporary = matches!(code.status_number(), 429 | 503) && *code != Code::ModelQuota;
        assert_eq!(code.retry_after_seconds().is_some(), temporary, "{code:?}");
    }
}
