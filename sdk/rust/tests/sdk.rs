//! The tests of the Rust SDK.

use souk::abi::*;
use souk::{native, Line};

mod vectors_gen;

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn golden_vectors() {
    vectors_gen::each(|name, hex, want, copy| {
        let got = copy(&unhex(hex));
        match want {
            None => assert_eq!(got, None, "{}: the bytes are read", name),
            Some((plain, written)) => {
                assert_eq!(written, unhex(plain), "{}: its value is written as other bytes", name);
                assert_eq!(got, Some(written), "{}: its bytes are read as another value", name);
            }
        }
    });
}

#[test]
fn buckets() {
    for (key, salt, bucket) in vectors_gen::BUCKETS {
        assert_eq!(souk::bucket(key, salt), *bucket, "bucket({:?}, {:?})", key, salt);
    }
}

fn choose(request: &SelectVersionRequest, out: &mut SelectVersionAnswers) -> Result<(), Error> {
    match request.head.account {
        "error" => return Err(Error(7)),
        "abstain" => return Ok(()),
        "missing" => {
            souk::kv_get("missing", &mut [])?;
        }
        _ => {}
    }
    for app in request.apps {
        let last = app.candidates.len() - 1;
        let version = app.candidates.get(last).unwrap_or_default().version as i64;
        let mut line = Line::new();
        out.push(&VersionChoice { choice: Choice(last as i32), reason: line.number(version - 9).as_str(), ..Default::default() });
    }
    if request.head.account == "many" {
        out.push(&VersionChoice::default());
    }
    Ok(())
}

souk::plugin!();
souk::select_version!(choose);
souk::configure!(|_json| Ok(()));

fn ask(account: &str, space: &mut [u8]) -> Result<usize, Error> {
    let candidates = [Candidate { version: 4, ..Default::default() }, Candidate { version: 3, ..Default::default() }];
    let apps = [
        SelectVersionApp { item: 1, candidates: List::from(&candidates), ..Default::default() },
        SelectVersionApp { candidates: List::from(&candidates[..1]), ..Default::default() },
    ];
    let request = SelectVersionRequest { head: Head { account, ..Default::default() }, apps: List::from(&apps) };
    let mut message = [0; 1000];
    let n = request.write(&mut message).unwrap();
    abi_hook(&message[..n], space)
}

fn abi_hook(message: &[u8], space: &mut [u8]) -> Result<usize, Error> {
    select_version(message, space, choose)
}

#[test]
fn a_hook_from_bytes_to_bytes() {
    let mut space = [0xee; 500];
    let n = ask("alice", &mut space).unwrap();
    let v = SelectVersionVerdict::read(&space[..n]).unwrap();
    let got: Vec<(i32, &str)> = v.items.iter().map(|c| (c.choice.0, c.reason)).collect();
    assert_eq!(got, [(1, "-6"), (0, "-5")]);
    assert_eq!(ask("error", &mut space), Err(Error(7)));
    assert_eq!(ask("abstain", &mut space), Ok(0));
    assert_eq!(ask("missing", &mut space), Err(Error(1)));
    assert_eq!(ask("many", &mut space), Err(Error::NO_SPACE));
    assert_eq!(abi_hook(&[1, 2, 3], &mut space), Err(Error::NOT_A_RECORD));
    for n in 0..64 {
        assert_eq!(ask("alice", &mut space[..n]), Err(Error::NO_SPACE), "a verdict of 66 bytes in {}", n);
    }
}

#[test]
fn kv() {
    native::reset();
    let mut b = [0; 16];
    assert_eq!(souk::kv_get("k", &mut b), Err(Code::NOT_FOUND));
    assert_eq!(souk::kv_put("k", b"value", 0), Ok(()));
    assert_eq!(souk::kv_get("k", &mut b), Ok(&b"value"[..]));
    assert_eq!(souk::kv_get("k", &mut b[..4]), Err(Code::DOES_NOT_FIT));
    assert_eq!(souk::kv_swap("k", b"", b"x"), Err(Code::CONFLICT));
    assert_eq!(souk::kv_swap("k", b"value", b"x"), Ok(()));
    assert_eq!(souk::kv_add("k", 1), Err(Code::REFUSED));
    assert_eq!(souk::kv_delete("k"), Ok(()));
    assert_eq!(souk::kv_delete(""), Err(Code::REFUSED));
    assert_eq!(souk::kv_add("k", 5), Ok(5));
    assert_eq!(souk::kv_add("k", -7), Ok(-2));
}

#[test]
fn passwords_and_log() {
    native::reset();
    let mut b = [0; 128];
    let hash = souk::password_hash("wonderland", &mut b).unwrap().to_string();
    assert_eq!(souk::password_verify("wonderland", hash.as_bytes()), Ok(true));
    assert_eq!(souk::password_verify("Wonderland", hash.as_bytes()), Ok(false));
    assert_eq!(souk::password_verify("", b""), Ok(false));
    assert_eq!(souk::password_verify(&"x".repeat(MAX_PASSWORD + 1), b""), Err(Code::REFUSED));
    souk::log(souk::Level::WARN, "a line");
    assert_eq!(native::logged(), ["2 a line"]);
}

fn hex(sum: Result<[u8; 32], Code>) -> String {
    sum.unwrap().iter().map(|b| format!("{:02x}", b)).collect()
}

#[test]
fn crypto() {
    // RFC 4231, test cases 2 and 6.
    let sum = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex(souk::hmac_sha256(b"Jefe", b"what do ya want for nothing?")), sum);
    let sum = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
    assert_eq!(hex(souk::hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")), sum);
    assert_eq!(souk::hmac_sha256(&vec![0; MAX_CRYPTO + 1], b""), Err(Code::REFUSED));
    assert!(souk::equal_ct(b"a", b"a") && !souk::equal_ct(b"a", b"b") && !souk::equal_ct(b"a", b""));
}

#[test]
fn secrets_and_metrics() {
    native::reset();
    native::set_secret("key", "größe");
    let mut b = [0; 16];
    assert_eq!(souk::secret("key", &mut b), Ok("größe"));
    assert_eq!(souk::secret("key", &mut b[..6]), Err(Code::DOES_NOT_FIT));
    assert_eq!(souk::secret("other", &mut b), Err(Code::NOT_FOUND));
    assert_eq!(souk::metric_add("asked", 2), Ok(()));
    assert_eq!(souk::metric_add("asked", 3), Ok(()));
    for (name, n) in [("Asked", 1), ("", 1), ("asked", -1), ("1", 1)] {
        assert_eq!(souk::metric_add(name, n), Err(Code::REFUSED), "{} {}", name, n);
    }
    assert_eq!(native::metrics().into_iter().collect::<Vec<_>>(), [("asked".to_string(), 5)]);
}

#[test]
fn fetch() {
    native::reset();
    let q = FetchRequest { method: "POST", url: "https://id.example.com/", body: "a body", ..Default::default() };
    let mut space = [0; 256];
    assert_eq!(souk::fetch(&q, &mut space).err(), Some(Code::REFUSED));
    native::handle_fetch(|q| match q.url {
        "https://id.example.com/" => Ok((201, format!("{} {}", q.method, q.body))),
        _ => Err(Code::FAILED),
    });
    let answer = souk::fetch(&q, &mut space).unwrap();
    assert_eq!((answer.status, answer.body), (201, "POST a body"));
    assert_eq!(souk::fetch(&q, &mut space[..40]).err(), Some(Code::REFUSED), "a request without space");
    let q = FetchRequest { url: "https://elsewhere.example.com/", ..q };
    assert_eq!(souk::fetch(&q, &mut space).err(), Some(Code::FAILED));
    native::handle_fetch(|_| Ok((200, "x".repeat(300))));
    assert_eq!(souk::fetch(&q, &mut space).err(), Some(Code::DOES_NOT_FIT));
}

#[test]
fn lines() {
    assert_eq!(Line::new().text("n = ").number(i64::MIN).as_str(), "n = -9223372036854775808");
    assert_eq!(Line::new().text(&"ä".repeat(600)).text("ö").as_str(), "ö");
    assert_eq!(souk::os(26, 1, 2), 1704194);
}

#[test]
fn values() {
    use souk::value::{parse, Kind, Malformed, MAX_DEPTH};
    let v = parse(" {\"a\": [1, -20 , 3.5e1,true,null], \"\\u0062\\n\": {\"c\" : \"\\ud83d\\udE80 \\ud83d \\u00df\\/\"}, \"d\":{}, \"e\":[ ]} ").unwrap();
    let keys: Vec<String> = v.entries().map(|(k, _)| k.chars().collect()).collect();
    assert_eq!(keys, ["a", "b\n", "d", "e"]);
    let (a, b) = (v.entries().next().unwrap().1, v.entries().nth(1).unwrap().1);
    assert_eq!(a.items().map(|n| n.whole()).collect::<Vec<_>>(), [Some(1), Some(-20), None, None, None]);
    assert_eq!(a.items().map(|n| n.kind()).collect::<Vec<_>>(), [Kind::Number, Kind::Number, Kind::Number, Kind::Bool, Kind::Null]);
    assert_eq!((a.items().nth(3).unwrap().bool(), a.bool(), a.whole()), (Some(true), None, None));
    let c = b.entries().next().unwrap().1;
    assert!(c.is("\u{1f680} \u{fffd} \u{df}/") && !c.is("\u{1f680}") && !a.is("[1"));
    assert_eq!(c.spelling(), "\"\\ud83d\\udE80 \\ud83d \\u00df\\/\"");
    assert_eq!(v.entries().nth(2).unwrap().1.entries().count() + v.entries().nth(3).unwrap().1.items().count() + v.items().count() + a.entries().count(), 0);

    let deep = |n| "[".repeat(n) + &"]".repeat(n);
    assert!(parse(&deep(MAX_DEPTH)).is_ok() && parse(&deep(MAX_DEPTH + 2)).is_err() && parse(&deep(100_000)).is_err());
    for (json, at) in [
        ("", 0), ("{", 1), ("[1,]", 3), ("{\"a\" 1}", 5), ("{a:1}", 1), ("01", 1), ("1.", 2), ("-", 1), ("1e", 2), ("tru", 3), ("\"a", 2),
        ("\"\\x\"", 2), ("\"\\u12g4\"", 5), ("\"\n\"", 1), ("1 1", 2), ("[1}", 2), ("\u{df}", 0),
    ] {
        assert_eq!(parse(json), Err(Malformed(at)), "{}", json);
    }
}
