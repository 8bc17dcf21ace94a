//! What a token must be, and a table of what it must not be.

use super::*;
use crate::auth::keyring::Previous;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn claims() -> Claims {
    Claims {
        sub: Uuid::from_u128(1),
        username: "ann".into(),
        role: Role::User,
        session_id: SessionRef { id: Uuid::from_u128(2), generation: 3 },
        preferences: Preferences { quality: Quality::Auto, device: Some(Device::Tv) },
        iat: now(),
        exp: now() + 3600,
    }
}

fn signer() -> Signer {
    with_previous(SECRET, Vec::new())
}

#[test]
fn a_token_has_exactly_the_claims_and_the_header_of_the_contract() {
    let token = signer().sign(&claims()).unwrap();
    let parts: Vec<Value> =
        token.split('.').take(2).map(|part| serde_json::from_slice(&decode_base64url(part)).unwrap()).collect();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&parts[0]), ["alg", "kid", "typ"]);
    assert_eq!(names(&parts[1]), ["exp", "iat", "preferences", "role", "session_id", "sub", "username"]);
    assert_eq!(parts[1]["session_id"], format!("{}.3", Uuid::from_u128(2)));
    assert_eq!(parts[1]["preferences"], json!({"quality": "auto", "device": "tv"}));
    assert_eq!(signer().verify(&token, now()), Ok(claims()));
}

#[test]
fn a_token_without_a_key_id_is_ours_if_we_signed_it() {
    let token = forge(json!({"alg": "HS256", "typ": "JWT"}), &json!(claims()), SECRET);
    assert!(signer().verify(&token, now()).is_ok());
}

#[test]
fn anything_else_is_refused() {
    let header = || json!({"alg": "HS256", "typ": "JWT"});
    let with = |name: &str, value: Value| {
        let mut header = header();
        header[name] = value;
        header
    };
    let changed = |name: &str, value: Value| {
        let mut claims = json!(claims());
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = json!(claims());
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let good = json!(claims());
    let (id, right) = (Uuid::from_u128(2), signer().sign(&claims()).unwrap());
    let rows: Vec<(&str, String)> = vec![
        ("another key", forge(header(), &good, b"another key that is long enough too")),
        ("no signature", forge(json!({"alg": "none"}), &good, SECRET).rsplit_once('.').unwrap().0.to_owned() + "."),
        ("alg none with a signature", forge(json!({"alg": "none"}), &good, SECRET)),
        ("alg HS384", forge(json!({"alg": "HS384", "typ": "JWT"}), &good, SECRET)),
        ("alg RS256", forge(json!({"alg": "RS256", "typ": "JWT"}), &good, SECRET)),
        ("unknown kid", forge(with("kid", json!("other")), &good, SECRET)),
        ("jku", forge(with("jku", json!("http://127.0.0.1/")), &good, SECRET)),
        ("x5u", forge(with("x5u", json!("http://127.0.0.1/")), &good, SECRET)),
        ("crit", forge(with("crit", json!(["exp"])), &good, SECRET)),
        ("cty", forge(with("cty", json!("JWT")), &good, SECRET)),
        ("a field of nobody's", forge(with("zzz", json!(1)), &good, SECRET)),
        ("typ of another kind", forge(with("typ", json!("at+jwt")), &good, SECRET)),
        ("expired", forge(header(), &changed("exp", json!(now() - 60)), SECRET)),
        ("made in the future", forge(header(), &changed("iat", json!(now() + 60)), SECRET)),
        ("not yet valid", forge(header(), &changed("nbf", json!(now() + 60)), SECRET)),
        ("too long a life", forge(header(), &changed("exp", json!(now() + 24 * 3600 + 60)), SECRET)),
        ("no exp", forge(header(), &without("exp"), SECRET)),
        ("no iat", forge(header(), &without("iat"), SECRET)),
        ("no sub", forge(header(), &without("sub"), SECRET)),
        ("no session_id", forge(header(), &without("session_id"), SECRET)),
        ("session_id without generation", forge(header(), &changed("session_id", json!(Uuid::nil())), SECRET)),
        ("session_id of words", forge(header(), &changed("session_id", json!("a.1")), SECRET)),
        ("role of nobody", forge(header(), &changed("role", json!("root")), SECRET)),
        ("exp as text", forge(header(), &changed("exp", json!("tomorrow")), SECRET)),
        ("negative iat", forge(header(), &changed("iat", json!(-1)), SECRET)),
        ("alg NONE", forge(json!({"alg": "NONE"}), &good, SECRET)),
        ("alg nOnE", forge(json!({"alg": "nOnE", "typ": "JWT"}), &good, SECRET)),
        ("no alg", forge(json!({"typ": "JWT"}), &good, SECRET)),
        ("alg null", forge(json!({"alg": null}), &good, SECRET)),
        ("alg of a list", forge(json!({"alg": ["HS256"]}), &good, SECRET)),
        ("alg hs256", forge(json!({"alg": "hs256"}), &good, SECRET)),
        ("alg HS512", forge(json!({"alg": "HS512", "typ": "JWT"}), &good, SECRET)),
        ("alg ES256", forge(json!({"alg": "ES256", "typ": "JWT"}), &good, SECRET)),
        ("alg PS256", forge(json!({"alg": "PS256", "typ": "JWT"}), &good, SECRET)),
        ("alg EdDSA", forge(json!({"alg": "EdDSA", "typ": "JWT"}), &good, SECRET)),
        ("kid empty", forge(with("kid", json!("")), &good, SECRET)),
        ("kid of a path", forge(with("kid", json!("../../dev/null")), &good, SECRET)),
        ("kid of SQL", forge(with("kid", json!("x' UNION SELECT 'k")), &good, SECRET)),
        ("kid of a URL", forge(with("kid", json!("http://127.0.0.1/key")), &good, SECRET)),
        ("kid of a number", forge(with("kid", json!(1)), &good, SECRET)),
        ("empty key", forge(header(), &good, b"")),
        ("jwk", forge(with("jwk", json!({"kty": "oct", "k": "AAAA"})), &good, SECRET)),
        ("x5c", forge(with("x5c", json!(["MIIB"])), &good, SECRET)),
        ("x5t", forge(with("x5t", json!("AAAA")), &good, SECRET)),
        ("x5t#S256", forge(with("x5t#S256", json!("AAAA")), &good, SECRET)),
        ("zip", forge(with("zip", json!("DEF")), &good, SECRET)),
        ("b64", forge(with("b64", json!(false)), &good, SECRET)),
        ("enc", forge(with("enc", json!("A256GCM")), &good, SECRET)),
        ("a claim of nobody's", forge(header(), &changed("admin", json!(true)), SECRET)),
        ("sub of words", forge(header(), &changed("sub", json!("ann")), SECRET)),
        ("sub of a number", forge(header(), &changed("sub", json!(1)), SECRET)),
        ("no role", forge(header(), &without("role"), SECRET)),
        ("no username", forge(header(), &without("username"), SECRET)),
        ("no preferences", forge(header(), &without("preferences"), SECRET)),
        ("session_id with a sign", forge(header(), &changed("session_id", json!(format!("{id}.+3"))), SECRET)),
        ("session_id with a zero before", forge(header(), &changed("session_id", json!(format!("{id}.03"))), SECRET)),
        (
            "session_id without dashes",
            forge(header(), &changed("session_id", json!(format!("{}.3", id.simple()))), SECRET),
        ),
        (
            "session_id of another generation",
            forge(header(), &changed("session_id", json!(format!("{id}.-1"))), SECRET),
        ),
        ("session_id past 32 bits", forge(header(), &changed("session_id", json!(format!("{id}.4294967296"))), SECRET)),
        ("exp negative", forge(header(), &changed("exp", json!(-1)), SECRET)),
        ("exp of a fraction", forge(header(), &changed("exp", json!(now() as f64 + 3600.5)), SECRET)),
        ("exp past all time", forge(header(), &changed("exp", json!(u64::MAX)), SECRET)),
        ("exp before iat", forge(header(), &changed("iat", json!(now() + 4000)), SECRET)),
        ("iat null", forge(header(), &changed("iat", json!(null)), SECRET)),
        ("claims of a list", forge(header(), &json!([1]), SECRET)),
        ("claims of a word", forge(header(), &json!("ann"), SECRET)),
        ("parts exchanged", {
            let parts: Vec<&str> = right.split('.').collect();
            format!("{}.{}.{}", parts[1], parts[0], parts[2])
        }),
        ("two parts", right.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{right}.")),
        ("a part too much", format!("{right}.{right}")),
        ("signature cut", right[..right.len() - 1].to_owned()),
        ("signature empty", format!("{}.", right.rsplit_once('.').unwrap().0)),
        ("signature padded", format!("{right}=")),
        ("a space before", format!(" {right}")),
        ("a line's end behind", format!("{right}\n")),
        ("a zero byte", format!("{right}\0")),
        ("letters of elsewhere", format!("é{right}")),
        ("empty", String::new()),
        ("dots", "..".into()),
        ("not base64", "a.b.c".into()),
        ("too long", "x".repeat(limits::TOKEN_BYTES_MAX + 1)),
    ];
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for (name, token) in rows {
        assert_eq!(signer().verify(&token, now()), Err(BAD_TOKEN), "{name}");
    }
}

#[test]
fn edited_claims_do_not_match_their_signature() {
    let token = signer().sign(&claims()).unwrap();
    let edited = forge(json!({"alg": "HS256", "typ": "JWT"}), &json!({"role": "admin"}), SECRET);
    let parts: Vec<&str> = token.split('.').collect();
    let claims = edited.split('.').nth(1).unwrap();
    assert_eq!(signer().verify(&format!("{}.{claims}.{}", parts[0], parts[2]), now()), Err(BAD_TOKEN));
}

/// A signer with this key, and these before it with the seconds until which they are good.
fn with_previous(secret: &[u8], previous: Vec<(&[u8], u64)>) -> Signer {
    let previous = previous.into_iter().map(|(secret, until)| {
        let until = Timestamp::from_microseconds(until.cast_signed() * 1_000_000);
        Previous { keys: Keys::of(secret), until: Some(until) }
    });
    Signer::new(&Keyring { current: Keys::of(secret), previous: previous.collect(), warnings: Vec::new() }).unwrap()
}

#[test]
fn a_key_before_proves_what_it_has_signed_until_its_time_is_over() {
    let newer: &[u8] = b"a newer secret of thirty-two bytes";
    let token = signer().sign(&claims()).unwrap();
    let rotated = with_previous(newer, vec![(SECRET, now() + 10)]);
    assert_eq!(rotated.verify(&token, now()), Ok(claims()));
    assert_eq!(rotated.verify(&token, now() + 10), Err(BAD_TOKEN));
    assert_eq!(with_previous(newer, Vec::new()).verify(&token, now()), Err(BAD_TOKEN));
    let fresh = rotated.sign(&claims()).unwrap();
    assert_eq!(rotated.verify(&fresh, now()), Ok(claims()));
    assert_ne!(rotated.key_id(), signer().key_id());
    // Each key proves only what it has signed itself, and without a name the one that signs is meant.
    let said = serde_json::to_value(claims()).unwrap();
    let header = |kid: &str| json!({"alg": "HS256", "typ": "JWT", "kid": kid});
    for (name, kid, secret) in [
        ("the old name over the new key", signer().key_id(), newer),
        ("the new name over the old key", rotated.key_id(), SECRET),
        ("no such key", "AAAAAAAA", SECRET),
    ] {
        assert_eq!(rotated.verify(&forge(header(kid), &said, secret), now()), Err(BAD_TOKEN), "{name}");
    }
    let nameless = json!({"alg": "HS256", "typ": "JWT"});
    assert_eq!(rotated.verify(&forge(nameless.clone(), &said, SECRET), now()), Err(BAD_TOKEN));
    assert!(rotated.verify(&forge(nameless, &said, newer), now()).is_ok());
}

#[test]
fn a_media_token_opens_one_film_and_passes_for_no_other_token() {
    let id = Uuid::from_u128(3);
    let media = MediaClaims { sub: id, session: id, video: id, iat: claims().iat, exp: claims().exp };
    let token = signer().sign_media(&media).unwrap();
    assert_eq!(signer().verify_media(&token, now()), Ok(media.clone()));
    assert_eq!(signer().verify(&token, now()), Err(BAD_TOKEN));
    let session = signer().sign(&claims()).unwrap();
    assert_eq!(signer().verify_media(&session, now()), Err(BAD_TOKEN));
    let header = || json!({"alg": "HS256", "typ": "JWT"});
    let right = serde_json::to_value(&media).unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = right.clone();
        claims[name] = value;
        claims
    };
    assert!(signer().verify_media(&forge(header(), &right, SECRET), now()).is_ok());
    for (name, claims) in [
        ("another claim", with("username", json!("ann"))),
        ("capital letters", with("video", json!("0000000000000000000000000000000A"))),
        ("a video that is none", with("video", json!("film.mp4"))),
        ("no session", with("session", Value::Null)),
        ("too long a life", with("exp", json!(media.iat + 86_401))),
        ("over", with("exp", json!(now() - 60))),
        ("not begun", with("iat", json!(now() + 60))),
    ] {
        assert_eq!(signer().verify_media(&forge(header(), &claims, SECRET), now()), Err(BAD_TOKEN), "{name}");
    }
    assert_eq!(
        signer().verify_media(&forge(header(), &right, b"another secret of thirty-two bytes"), now()),
        Err(BAD_TOKEN)
    );
    let none = json!({"alg": "none", "typ": "JWT"});
    assert_eq!(signer().verify_media(&forge(none, &right, SECRET), now()), Err(BAD_TOKEN));
}

#[test]
fn a_token_ends_at_its_time_by_the_clock_it_is_given() {
    let token = signer().sign(&claims()).unwrap();
    assert!(signer().verify(&token, claims().exp).is_ok());
    assert_eq!(signer().verify(&token, claims().exp + LEEWAY_SECONDS + 1), Err(BAD_TOKEN));
}

/// A token with any header and claims, signed with HS256 whatever its header says.
fn forge(header: Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode_base64url(&header.to_string()), encode_base64url(&claims.to_string()));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn encode_base64url(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn decode_base64url(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}
