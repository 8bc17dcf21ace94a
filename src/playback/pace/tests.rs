//! How what there is is divided, and when a playback has to wait.

use uuid::Uuid;

use super::*;

const MB: u64 = 1_000_000;

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_microseconds(1_700_000_000_000_000).plus(Duration::from_millis(milliseconds))
}

fn pace(bytes: u64) -> Pace {
    Pace::of_bits(bytes * 8)
}

fn caps(per_user: u64, total: u64) -> Caps {
    Caps { per_user: pace(per_user), total: pace(total), with_lan: false }
}

/// A stream of this user that takes all it gets.
fn claim(user: u128) -> Claim {
    let owner = Owner::User(Uuid::from_u128(user));
    Claim { owner, own: Pace::NONE, draw: Pace::NONE, flows: true, is_capped: true }
}

/// What each is given, in bytes a second; 0 is as fast as it goes.
fn divided(caps: Caps, claims: &[Claim]) -> Vec<u64> {
    divide(caps, claims).into_iter().map(|pace| pace.bytes().unwrap_or(0)).collect()
}

#[test]
fn without_caps_each_has_what_its_user_asks_for() {
    let own = Claim { own: pace(MB), ..claim(2) };
    assert_eq!(divided(caps(0, 0), &[claim(1), own]), [0, MB]);
    assert_eq!(divided(caps(5 * MB, 9 * MB), &[]), [0; 0]);
}

#[test]
fn all_is_divided_among_users_first_and_then_among_their_streams() {
    let three = [claim(1), claim(2), claim(2)];
    assert_eq!(divided(caps(0, 12 * MB), &three), [6 * MB, 3 * MB, 3 * MB]);
    assert_eq!(divided(caps(2 * MB, 0), &three), [2 * MB, MB, MB]);
    assert_eq!(divided(caps(4 * MB, 6 * MB), &three), [3 * MB, 3 * MB / 2, 3 * MB / 2]);
    assert_eq!(divided(caps(2 * MB, 12 * MB), &three), [2 * MB, MB, MB], "what is left over is nobody's");
}

#[test]
fn a_link_is_divided_as_a_user_is() {
    let guest = Claim { owner: Owner::Link(Uuid::from_u128(1)), ..claim(1) };
    assert_eq!(divided(caps(0, 9 * MB), &[claim(1), claim(1), guest]), [9 * MB / 4, 9 * MB / 4, 9 * MB / 2]);
}

#[test]
fn what_one_may_not_use_goes_to_the_others() {
    let modest = Claim { own: pace(MB), ..claim(1) };
    assert_eq!(divided(caps(0, 9 * MB), &[modest, claim(2), claim(3)]), [MB, 4 * MB, 4 * MB]);
    assert_eq!(divided(caps(9 * MB, 0), &[modest, claim(1), claim(1)]), [MB, 4 * MB, 4 * MB], "of one user as well");
}

#[test]
fn what_one_does_not_take_goes_to_the_others_and_only_if_they_want_it() {
    let slow = Claim { draw: pace(MB), ..claim(1) };
    assert_eq!(divided(caps(0, 9 * MB), &[slow, claim(2)]), [MB, 8 * MB]);
    assert_eq!(divided(caps(0, 9 * MB), &[slow, slow]), [9 * MB / 2, 9 * MB / 2], "there is enough for both");
    let other = Claim { draw: pace(3 * MB), ..claim(2) };
    assert_eq!(divided(caps(0, 9 * MB), &[slow, other]), [9 * MB / 2, 9 * MB / 2], "nobody wants what they leave");
}

#[test]
fn who_stands_still_holds_nothing_and_begins_as_one_more() {
    let still = Claim { flows: false, ..claim(3) };
    assert_eq!(divided(caps(0, 6 * MB), &[claim(1), claim(2), still]), [3 * MB, 3 * MB, 2 * MB]);
    assert_eq!(divided(caps(6 * MB, 0), &[claim(3), still]), [6 * MB, 3 * MB]);
    assert_eq!(divided(caps(5 * MB, 6 * MB), &[still]), [5 * MB], "alone it may have all");
    let modest = Claim { own: pace(MB), ..still };
    assert_eq!(divided(caps(0, 6 * MB), &[claim(1), modest]), [6 * MB, MB]);
}

#[test]
fn those_in_the_house_take_no_part() {
    let near = Claim { is_capped: false, ..claim(1) };
    let modest = Claim { own: pace(MB), ..near };
    assert_eq!(divided(caps(4 * MB, 6 * MB), &[near, modest, claim(1)]), [0, MB, 4 * MB]);
}

#[test]
fn the_sum_is_never_more_than_the_cap_but_for_the_least_there_is() {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..2000 {
        let (total, per_user) = (random(40 * MB), random(20 * MB));
        let count = 1 + random(12);
        let claims: Vec<Claim> = (0..count)
            .map(|_| Claim {
                own: pace(random(2) * random(9 * MB)),
                draw: pace(random(2) * random(9 * MB)),
                ..claim(u128::from(random(4)))
            })
            .collect();
        let paces = divide(caps(per_user, total), &claims);
        let sum_of = |is_theirs: &dyn Fn(&Claim) -> bool| -> u64 {
            claims.iter().zip(&paces).filter(|(claim, _)| is_theirs(claim)).map(|(_, pace)| pace.0).sum()
        };
        let least = count * limits::PACE_BYTES_MIN;
        let sum = sum_of(&|_| true);
        assert!(total < 2 || sum <= total.max(least) + least, "{sum} of {total}: {claims:?}");
        for user in 0..4 {
            let sum = sum_of(&|one| one.owner == claim(user).owner);
            assert!(per_user < 2 || sum <= per_user.max(least) + least, "{sum} of {per_user}: {claims:?}");
        }
        assert!(paces.iter().zip(&claims).all(|(pace, claim)| *pace <= claim.own), "{paces:?} {claims:?}");
    }
}

#[test]
fn a_cap_among_too_many_leaves_each_the_least() {
    let many: Vec<Claim> = (0..100).map(claim).collect();
    assert!(divided(caps(0, 100_000), &many).iter().all(|pace| *pace == limits::PACE_BYTES_MIN));
    assert_eq!(pace(100_000).among(100).bytes(), Some(limits::PACE_BYTES_MIN));
    assert_eq!((pace(MB).among(4), Pace::NONE.among(4), pace(MB).among(0)), (pace(MB / 4), Pace::NONE, pace(MB)));
    assert_eq!(Pace::of_bits(1).bytes(), Some(limits::PACE_BYTES_MIN));
    assert_eq!((Pace::of_bits(0).bits(), Pace::of_bits(8 * MB).bits()), (None, Some(8 * MB)));
}

#[test]
fn a_stream_that_takes_about_its_share_would_take_more() {
    let mut draw = Draw::UNKNOWN;
    let mut noted = |rates: &[u64]| {
        rates.iter().for_each(|rate| draw.note(*rate));
        draw.claim(pace(4 * MB)).bytes()
    };
    assert_eq!(noted(&[MB, MB, MB]), None, "too soon to say");
    assert_eq!(noted(&[MB]), Some(3 * MB / 2));
    assert_eq!(noted(&[0, 0, 0]), Some(3 * MB / 2), "it fetches in bursts");
    assert_eq!(noted(&[7 * MB / 2]), None);
    assert_eq!(noted(&[0, 0, 0, 0]), Some(limits::PACE_BYTES_MIN));
}

#[test]
fn what_was_handed_ahead_of_the_pace_is_waited_for() {
    let ahead = limits::PACE_AHEAD.as_millis() as u64;
    let mut tab = Tab::new(at(0), at(0));
    tab.charge(MB / 4, pace(MB), at(0));
    assert_eq!(tab.wait(at(0)), Duration::ZERO, "a quarter of a second's worth is a beginning");
    tab.charge(3 * MB, pace(MB), at(0));
    assert_eq!(tab.wait(at(0)), Duration::from_millis(3000 - ahead));
    assert_eq!(tab.wait(at(2000)), Duration::from_millis(1000 - ahead));
    tab.charge(3 * MB, pace(MB), at(2000));
    assert_eq!(tab.wait(at(2000)), Duration::from_millis(1000 - ahead), "the same bytes are not charged twice");
    tab.charge(3 * MB, pace(MB), at(60_000));
    tab.charge(4 * MB, pace(MB), at(61_000));
    assert_eq!(tab.wait(at(61_000)), Duration::ZERO, "a minute's rest is worth no more than the moment since");
    tab.charge(9 * MB, pace(MB), at(61_000));
    assert_eq!(tab.wait(at(61_000)), Duration::from_millis(5000 - ahead), "and no later burst");
}

#[test]
fn what_is_owed_is_owed_at_the_new_pace_and_for_no_longer_than_a_while() {
    let mut tab = Tab::new(at(0), at(0));
    tab.charge(2 * MB, pace(MB), at(0));
    let mut faster = tab;
    faster.change(pace(MB), pace(4 * MB), at(0));
    assert_eq!(faster.clear_at(), at(500));
    let mut slower = tab;
    slower.change(pace(MB), pace(MB / 100), at(0));
    assert_eq!(slower.clear_at(), at(0).plus(limits::PACE_DEBT_MAX));
    let mut free = tab;
    free.change(pace(MB), Pace::NONE, at(0));
    assert_eq!(free.wait(at(0)), Duration::ZERO);
    free.charge(900 * MB, Pace::NONE, at(0));
    free.change(Pace::NONE, pace(MB), at(0));
    assert_eq!(free.wait(at(0)), Duration::ZERO, "what was sent without a pace is not owed");
    let set_back = at(0).minus(Duration::from_secs(3600));
    tab.charge(3 * MB, pace(MB), set_back);
    assert_eq!(tab.clear_at(), set_back.plus(Duration::from_secs(3)), "also when the clock is set back");
    tab.charge(9000 * MB, pace(MB), set_back);
    assert_eq!(tab.clear_at(), set_back.plus(limits::PACE_DEBT_MAX));
}

#[test]
fn one_word_says_the_pace_and_whether_somebody_asks() {
    let mut wish = Wish::NONE;
    assert_eq!((wish.pace(), Wish::of_word(wish.word())), (Pace::NONE, wish));
    for _ in 0..600 {
        let next = wish.asking();
        assert!(next.asks_since(wish) && next.pace() == wish.pace() && next != wish);
        wish = next.with_pace(pace(MB));
        assert!(!wish.asks_since(next) && wish.pace() == pace(MB));
    }
}

#[test]
fn the_house_is_what_no_router_sends_out() {
    for near in [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.9",
        "169.254.7.7",
        "fe80::1",
        "fd12::7",
        "::ffff:192.168.1.9",
    ] {
        assert!(is_near(near.parse().unwrap()), "{near}");
    }
    for far in ["1.1.1.1", "172.32.0.1", "192.169.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "fec0::1"] {
        assert!(!is_near(far.parse().unwrap()), "{far}");
    }
}
