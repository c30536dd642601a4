use proptest::prelude::*;

use super::*;
use crate::domain::event::VerdictSource::{Caller, Scorer};

fn request(subject: u128, value: f64) -> ScoredRequest<'static> {
    ScoredRequest {
        subject: SubjectRef::new(subject),
        caller: Some(value),
        asserted: None,
        scored: &[],
    }
}

fn run(
    filter: &mut MoralFilter,
    policy: &Moral,
    position: u64,
    subject: u128,
    value: f64,
) -> MoralVerdict {
    let verdict = filter.judge(policy, &request(subject, value)).unwrap();
    filter.apply(policy.adaptation, SubjectRef::new(subject), &verdict, position);
    verdict
}

#[test]
fn homeostatic_follows_the_golden_trajectories() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/moral.json")).unwrap();
    for (name, stream) in golden["streams"].as_object().unwrap() {
        let floats = |key: &str| {
            stream[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>()
        };
        let policy = Moral {
            adaptation: Adaptation::Homeostatic,
            initial_threshold: stream["threshold0"].as_f64().unwrap(),
            ..Moral::default()
        };
        let mut filter = MoralFilter::start(&policy);
        assert_eq!(filter.ema().to_bits(), stream["ema0"].as_f64().unwrap().to_bits());
        let (thresholds, emas) = (floats("threshold"), floats("ema"));
        for (i, value) in floats("values").into_iter().enumerate() {
            let verdict = run(&mut filter, &policy, i as u64 + 1, 1, value);
            let accepted = stream["accepted"][i].as_u64().unwrap() == 1;
            assert_eq!(verdict.accepted(), accepted, "{name} step {i}");
            let now = filter.threshold(&policy, None);
            assert_eq!(now.to_bits(), thresholds[i].to_bits(), "{name} step {i}");
            assert_eq!(filter.ema().to_bits(), emas[i].to_bits(), "{name} step {i}");
        }
    }
}

#[test]
fn a_threshold_is_saturated_if_it_cannot_move_further() {
    let saturated = |adaptation, value: f64| {
        let policy = Moral { adaptation, ..Moral::default() };
        let mut filter = MoralFilter::start(&policy);
        let at_first = filter.is_saturated(&policy);
        for position in 1..=500 {
            run(&mut filter, &policy, position, 1, value);
        }
        (at_first, filter.is_saturated(&policy))
    };
    assert_eq!(saturated(Adaptation::Vigilant, 0.0), (false, true), "all requests are harmful");
    assert_eq!(saturated(Adaptation::Vigilant, 1.0), (false, false), "at its floor");
    assert_eq!(saturated(Adaptation::Homeostatic, 1.0), (false, true), "all requests are accepted");
    assert_eq!(saturated(Adaptation::Fixed, 0.0), (false, false));
}

#[test]
fn benign_verdicts_decay_the_average_by_repeated_multiplication() {
    let policy = Moral::default();
    let mut filter = MoralFilter::start(&policy);
    run(&mut filter, &policy, 1, 1, 0.0);
    let mut expected = filter.subject_ema(SubjectRef::new(1));
    let mut position = 1;
    while expected >= SUBJECT_EMA_MIN {
        position += 1;
        run(&mut filter, &policy, position, 1, 1.0);
        expected *= 1.0 - policy.ema_alpha;
        let own = filter.subject_ema(SubjectRef::new(1));
        if expected >= SUBJECT_EMA_MIN {
            assert_eq!(own.to_bits(), expected.to_bits());
        }
    }
    assert_eq!(filter.subject_count(), 0);
}

#[test]
fn a_subject_beyond_the_limit_evicts_the_smallest_average() {
    let policy = Moral::default();
    let mut filter = MoralFilter::start(&policy);
    for subject in 1..=SUBJECTS_MAX as u128 {
        run(&mut filter, &policy, subject as u64, subject, 0.0);
    }
    // benign requests of subject 5 make its average the smallest
    run(&mut filter, &policy, 20_000, 5, 1.0);
    let verdict = run(&mut filter, &policy, 20_001, 77_777, 0.0);
    assert_eq!(verdict.forgot, Some(SubjectRef::new(5)));
    assert_eq!(filter.subject_count(), SUBJECTS_MAX);
    // of equal averages, the one with the oldest verdict is evicted
    let verdict = run(&mut filter, &policy, 20_002, 88_888, 0.0);
    assert_eq!(verdict.forgot, Some(SubjectRef::new(1)));
    // a new subject with a benign request needs no entry
    let verdict = run(&mut filter, &policy, 20_003, 99_999, 1.0);
    assert_eq!(verdict.forgot, None);
}

#[test]
fn scores_are_combined_as_the_policy_says() {
    let scored = ScorerResult { id: "s".into(), version: 1, value: 0.4, parts: [].into() };
    let with = |caller| ScoredRequest {
        subject: SubjectRef::new(1),
        caller,
        asserted: None,
        scored: std::slice::from_ref(&scored),
    };
    let none =
        |caller| ScoredRequest { subject: SubjectRef::new(1), caller, asserted: None, scored: &[] };
    assert_eq!(combine(CallerScore::Accept, &with(Some(0.9))), Ok((0.9, Caller)));
    assert_eq!(combine(CallerScore::Accept, &with(None)), Ok((0.4, Scorer)));
    assert_eq!(combine(CallerScore::Accept, &none(None)), Err(ScoreError::Missing));
    assert_eq!(combine(CallerScore::Min, &with(Some(0.9))), Ok((0.4, Scorer)));
    assert_eq!(combine(CallerScore::Min, &with(Some(0.1))), Ok((0.1, Caller)));
    assert_eq!(combine(CallerScore::Ignore, &with(Some(0.9))), Ok((0.4, Scorer)));
    for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        assert_eq!(combine(CallerScore::Ignore, &with(Some(bad))), Err(ScoreError::OutOfRange));
    }
}

#[test]
fn a_score_that_the_caller_may_not_state_only_lowers_that_of_the_scorer() {
    let scored = ScorerResult { id: "s".into(), version: 1, value: 0.4, parts: [].into() };
    let with = |caller, asserted| ScoredRequest {
        subject: SubjectRef::new(1),
        caller: Some(caller),
        asserted: Some(asserted),
        scored: std::slice::from_ref(&scored),
    };
    let accept = CallerScore::Accept;
    assert_eq!(combine(accept, &with(0.9, true)), Ok((0.9, Caller)));
    assert_eq!(combine(accept, &with(0.9, false)), Ok((0.4, Scorer)));
    assert_eq!(combine(accept, &with(0.1, false)), Ok((0.1, Caller)));
    assert_eq!(combine(CallerScore::Ignore, &with(0.1, false)), Ok((0.4, Scorer)));
    let alone = ScoredRequest { scored: &[], ..with(0.9, false) };
    assert_eq!(combine(accept, &alone), Err(ScoreError::Missing));
}

proptest! {
    /// The threshold stays within [initial, max] for any requests, and that of a subject without
    /// harmful requests rises by at most `share · (max − initial)`.
    #[test]
    fn vigilance_has_a_floor_and_barely_affects_other_subjects(
        offers in proptest::collection::vec((1u128..6, 0.0f64..=1.0), 1..300)
    ) {
        let policy = Moral::default();
        let mut filter = MoralFilter::start(&policy);
        let bystander = SubjectRef::new(999);
        for (i, (subject, value)) in offers.iter().enumerate() {
            let verdict = run(&mut filter, &policy, i as u64 + 1, *subject, *value);
            for t in [verdict.threshold_before, verdict.threshold_after] {
                prop_assert!((policy.initial_threshold..=policy.max_threshold).contains(&t));
            }
            let raised = filter.threshold(&policy, Some(bystander)) - policy.initial_threshold;
            prop_assert!((0.0..=0.10 + 1e-12).contains(&raised));
        }
    }

    /// Benign verdicts of a subject never raise its own threshold.
    #[test]
    fn benign_verdicts_never_raise_the_threshold_of_their_subject(
        before in proptest::collection::vec(0.0f64..=1.0, 0..50), benign in 0.5f64..=1.0
    ) {
        let policy = Moral::default();
        let mut filter = MoralFilter::start(&policy);
        for (i, value) in before.iter().enumerate() {
            run(&mut filter, &policy, i as u64 + 1, 1, *value);
        }
        let verdict = run(&mut filter, &policy, 1_000, 1, benign);
        prop_assert!(verdict.threshold_after <= verdict.threshold_before);
    }
}
