use std::net::Ipv4Addr;

use tokio::time::advance;

use super::*;

const BUCKETS_MAX: usize = 1_600;

fn rate(requests: u32, seconds: u64, burst: u32) -> Rate {
    let some = |n| NonZeroU32::new(n).unwrap();
    Rate { requests: some(requests), window: Duration::from_secs(seconds), burst: some(burst) }
}

fn rates() -> Rates {
    Rates::new(rate(100, 60, 20), vec![("service".to_owned(), rate(1000, 60, 200))], BUCKETS_MAX)
}

fn actor(name: &str) -> BucketKey {
    BucketKey::Actor(name.to_owned())
}

fn address(n: u32) -> BucketKey {
    BucketKey::address(IpAddr::V4(Ipv4Addr::from(n)))
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_granted_and_then_one_request_per_interval() {
    let (rates, rate, ann) = (rates(), rate(100, 60, 20), actor("ann"));
    for n in (0..20).rev() {
        assert_eq!(rates.take(&ann, rate).unwrap().remaining, n);
    }
    let refused = rates.take(&ann, rate).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_millis(600));
    assert_eq!(
        (refused.allowance.remaining, refused.allowance.reset),
        (0, Duration::from_secs(12))
    );
    assert_eq!(rates.allowance(&ann, rate), refused.allowance);
    assert_eq!(
        rates.take(&actor("bob"), rate).unwrap().remaining,
        19,
        "bob has a bucket of his own"
    );

    advance(Duration::from_millis(599)).await;
    rates.take(&ann, rate).unwrap_err();
    advance(Duration::from_millis(1)).await;
    assert_eq!(rates.take(&ann, rate).unwrap().remaining, 0);
    rates.take(&ann, rate).unwrap_err();

    // the average rate is that of the window, however often the caller tries
    let mut granted = 0;
    for _ in 0..6_000 {
        advance(Duration::from_millis(100)).await;
        granted += u32::from(rates.take(&ann, rate).is_ok());
    }
    assert_eq!(granted, 1_000, "ten minutes");
}

#[tokio::test(start_paused = true)]
async fn the_allowance_can_be_read_without_taking_and_refills() {
    let (rates, rate, ann) = (rates(), rate(100, 60, 20), actor("ann"));
    let untouched = Allowance { rate, remaining: 20, reset: Duration::ZERO };
    assert_eq!(rates.allowance(&ann, rate), untouched);
    for _ in 0..5 {
        rates.take(&ann, rate).unwrap();
    }
    assert_eq!(rates.allowance(&ann, rate).remaining, 15);
    assert_eq!(rates.allowance(&ann, rate).reset, Duration::from_secs(3));
    advance(Duration::from_millis(1_200)).await;
    assert_eq!(rates.allowance(&ann, rate).remaining, 17);
    advance(Duration::from_secs(2)).await;
    assert_eq!(rates.allowance(&ann, rate), untouched);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_identities_get_no_more_buckets_than_the_limit() {
    let (rates, rate) = (rates(), rate(100, 60, 20));
    let mut granted = 0;
    for n in 0..10_000 {
        granted += usize::from(rates.take(&address(n), rate).is_ok());
        granted += usize::from(rates.take(&actor(&n.to_string()), rate).is_ok());
    }
    let buckets = rates.buckets();
    assert!(buckets <= BUCKETS_MAX, "{buckets}");
    assert_eq!(granted, buckets + 20, "all keys above the limit share one burst");
    let stranger = actor("above the limit");
    rates.take(&stranger, rate).unwrap_err();
    assert_eq!(rates.allowance(&stranger, rate).remaining, 0);

    // each took one token, which is refilled after one interval
    rates.sweep();
    assert_eq!(rates.buckets(), buckets, "a bucket that is not full is not removed");
    advance(Duration::from_millis(600)).await;
    rates.sweep();
    assert_eq!(rates.buckets(), 0);
    assert_eq!(rates.take(&stranger, rate).unwrap().remaining, 19);
}

#[tokio::test(start_paused = true)]
async fn full_buckets_are_removed_in_the_background() {
    let (rates, rate, stop) = (Arc::new(rates()), rate(100, 60, 20), Stop::default());
    let sweeping = Arc::clone(&rates).sweep_until(stop.clone());
    let asking = async {
        rates.take(&actor("ann"), rate).unwrap();
        assert_eq!(rates.buckets(), 1);
        // paused time advances to the next timer
        tokio::time::sleep(SWEEP_EVERY + Duration::from_secs(1)).await;
        assert_eq!(rates.buckets(), 0);
        stop.begin();
    };
    tokio::join!(sweeping, asking);
}

#[tokio::test(start_paused = true)]
async fn roles_and_keys_have_rates_of_their_own() {
    let (rates, default, service) = (rates(), rate(100, 60, 20), rate(1000, 60, 200));
    assert_eq!(rates.for_roles([]), default);
    assert_eq!(rates.for_roles(["user"]), default);
    assert_eq!(rates.for_roles(["user", "service"]), service);
    let ann = actor("ann");
    for _ in 0..200 {
        rates.take(&ann, service).unwrap();
    }
    rates.take(&ann, service).unwrap_err();
    let of_key = rate(1, 3600, 1);
    assert_eq!(
        rates.take(&ann, of_key).unwrap().remaining,
        0,
        "a bucket with another rate starts full"
    );
    assert_eq!(rates.take(&ann, of_key).unwrap_err().retry_after, Duration::from_hours(1));
}

#[test]
fn the_addresses_of_an_ipv6_network_share_a_bucket() {
    let at = |text: &str| BucketKey::address(text.parse().unwrap());
    assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
    assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
}
