//! The host functions outside of a plugin, for tests: a kv in memory of each
//! thread, without expiry, and a password hash that is quick instead of safe.

use crate::abi::{Code, FetchRequest};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Fetch = Rc<dyn Fn(&FetchRequest<'_>) -> Result<(u32, String), Code>>;

#[derive(Default)]
struct State {
    kv: BTreeMap<Vec<u8>, Vec<u8>>,
    log: Vec<String>,
    metrics: BTreeMap<String, i64>,
    secrets: BTreeMap<String, String>,
    fetch: Option<Fetch>,
}

thread_local!(static STATE: RefCell<State> = RefCell::default());

/// Forgets what the host functions of this thread have kept.
pub fn reset() {
    STATE.with(|s| *s.borrow_mut() = State::default());
}

/// Returns the lines of the log since reset.
pub fn logged() -> Vec<String> {
    STATE.with(|s| s.borrow().log.clone())
}

/// Is what `secret` returns in this thread from then on until reset.
pub fn set_secret(name: &str, value: &str) {
    STATE.with(|s| s.borrow_mut().secrets.insert(name.into(), value.into()));
}

/// Answers `fetch` in this thread from then on until reset, with a status and a
/// body.
pub fn handle_fetch(f: impl Fn(&FetchRequest<'_>) -> Result<(u32, String), Code> + 'static) {
    STATE.with(|s| s.borrow_mut().fetch = Some(Rc::new(f)));
}

/// Returns the counters of `metric_add` since reset.
pub fn metrics() -> BTreeMap<String, i64> {
    STATE.with(|s| s.borrow().metrics.clone())
}

/// SHA-256, FIPS 180-4 §6.2.
fn sha256(message: &[u8]) -> [u32; 8] {
    const K: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
        0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
        0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
        0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
        0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
        0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
        0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2,
    ];
    let mut h = [0x6a09e667u32, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut w = [0u32; 64];
        for (w, b) in w.iter_mut().zip(block.chunks(4)) {
            *w = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
        }
        for i in 16..64 {
            let (a, b) = (w[i - 15], w[i - 2]);
            w[i] = w[i - 16]
                .wrapping_add(w[i - 7])
                .wrapping_add(a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3)
                .wrapping_add(b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10);
        }
        let mut v = h;
        for i in 0..64 {
            let one = v[7]
                .wrapping_add(v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25))
                .wrapping_add((v[4] & v[5]) ^ (!v[4] & v[6]))
                .wrapping_add(K[i])
                .wrapping_add(w[i]);
            let two = (v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22))
                .wrapping_add((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
            v.copy_within(0..7, 1);
            v[4] = v[4].wrapping_add(one);
            v[0] = one.wrapping_add(two);
        }
        for (h, v) in h.iter_mut().zip(v) {
            *h = h.wrapping_add(v);
        }
    }
    h
}

/// The host functions, with the signatures that they have in a plugin.
pub(crate) mod host {
    use super::{sha256, STATE};
    use crate::abi::*;
    use std::{slice, str};

    /// # Safety
    /// at has n bytes.
    unsafe fn bytes<'a>(at: *const u8, n: u32) -> &'a [u8] {
        unsafe { slice::from_raw_parts(at, n as usize) }
    }

    unsafe fn fill(out: *mut u8, capacity: u32, value: &[u8]) -> i32 {
        if value.len() > capacity as usize {
            return Code::DOES_NOT_FIT.0;
        }
        unsafe { slice::from_raw_parts_mut(out, value.len()) }.copy_from_slice(value);
        value.len() as i32
    }

    fn refused(key: &[u8], value: &[u8]) -> bool {
        key.is_empty() || key.len() > MAX_KV_KEY || value.len() > MAX_KV_VALUE
    }

    fn get(key: &[u8]) -> Option<Vec<u8>> {
        STATE.with(|s| s.borrow().kv.get(key).cloned())
    }

    fn put(key: &[u8], value: &[u8]) -> i32 {
        if refused(key, value) {
            return Code::REFUSED.0;
        }
        STATE.with(|s| s.borrow_mut().kv.insert(key.to_vec(), value.to_vec()));
        0
    }

    pub unsafe fn bucket(key: *const u8, klen: u32, salt: *const u8, slen: u32) -> i32 {
        let h = sha256(&[unsafe { bytes(salt, slen) }, &[0], unsafe { bytes(key, klen) }].concat());
        ((u64::from(h[0]) << 32 | u64::from(h[1])) % u64::from(BUCKETS)) as i32
    }

    pub unsafe fn log(level: u32, text: *const u8, tlen: u32) {
        let line = format!("{} {}", level, String::from_utf8_lossy(unsafe { bytes(text, tlen) }));
        STATE.with(|s| s.borrow_mut().log.push(line));
    }

    pub unsafe fn kv_get(key: *const u8, klen: u32, out: *mut u8, capacity: u32) -> i32 {
        let key = unsafe { bytes(key, klen) };
        if refused(key, &[]) {
            return Code::REFUSED.0;
        }
        match get(key) {
            Some(value) => unsafe { fill(out, capacity, &value) },
            None => Code::NOT_FOUND.0,
        }
    }

    pub unsafe fn kv_put(key: *const u8, klen: u32, value: *const u8, vlen: u32, _ttl: u32) -> i32 {
        put(unsafe { bytes(key, klen) }, unsafe { bytes(value, vlen) })
    }

    pub unsafe fn kv_delete(key: *const u8, klen: u32) -> i32 {
        let key = unsafe { bytes(key, klen) };
        if refused(key, &[]) {
            return Code::REFUSED.0;
        }
        STATE.with(|s| s.borrow_mut().kv.remove(key));
        0
    }

    pub unsafe fn kv_swap(key: *const u8, klen: u32, old: *const u8, olen: u32, value: *const u8, vlen: u32) -> i32 {
        let (key, old) = unsafe { (bytes(key, klen), bytes(old, olen)) };
        let same = match get(key) {
            Some(present) => olen > 0 && present == old,
            None => olen == 0,
        };
        if !same {
            return Code::CONFLICT.0;
        }
        put(key, unsafe { bytes(value, vlen) })
    }

    pub unsafe fn kv_add(key: *const u8, klen: u32, delta: i64, out: *mut u8) -> i32 {
        let key = unsafe { bytes(key, klen) };
        let present = match get(key).map(|v| <[u8; 8]>::try_from(v.as_slice())) {
            None => 0,
            Some(Ok(b)) => i64::from_le_bytes(b),
            Some(Err(_)) => return Code::REFUSED.0, // it is no counter
        };
        let sum = present.wrapping_add(delta).to_le_bytes();
        match put(key, &sum) {
            0 => unsafe { fill(out, 8, &sum) },
            code => code,
        }
    }

    fn hash(password: &[u8]) -> Option<String> {
        if password.len() > MAX_PASSWORD {
            return None;
        }
        Some(format!("test${:08x}", sha256(password)[0]))
    }

    pub unsafe fn password_hash(password: *const u8, plen: u32, out: *mut u8, capacity: u32) -> i32 {
        match hash(unsafe { bytes(password, plen) }) {
            Some(hash) => unsafe { fill(out, capacity, hash.as_bytes()) },
            None => Code::REFUSED.0,
        }
    }

    pub unsafe fn password_verify(password: *const u8, plen: u32, have: *const u8, hlen: u32) -> i32 {
        match hash(unsafe { bytes(password, plen) }) {
            Some(hash) => i32::from(hash.as_bytes() == unsafe { bytes(have, hlen) }),
            None => Code::REFUSED.0,
        }
    }

    pub unsafe fn hmac_sha256(key: *const u8, klen: u32, data: *const u8, dlen: u32, out: *mut u8, capacity: u32) -> i32 {
        let (key, data) = unsafe { (bytes(key, klen), bytes(data, dlen)) };
        if key.len() > MAX_CRYPTO || data.len() > MAX_CRYPTO {
            return Code::REFUSED.0;
        }
        let digest = |b: &[u8]| -> Vec<u8> { sha256(b).iter().flat_map(|h| h.to_be_bytes()).collect() };
        let mut block = if key.len() > 64 { digest(key) } else { key.to_vec() };
        block.resize(64, 0);
        let inner = digest(&[block.iter().map(|b| b ^ 0x36).collect(), data.to_vec()].concat());
        let sum = digest(&[block.iter().map(|b| b ^ 0x5c).collect(), inner].concat());
        unsafe { fill(out, capacity, &sum) }
    }

    pub unsafe fn equal_ct(a: *const u8, alen: u32, b: *const u8, blen: u32) -> i32 {
        let (a, b) = unsafe { (bytes(a, alen), bytes(b, blen)) };
        if a.len() > MAX_CRYPTO || b.len() > MAX_CRYPTO {
            return Code::REFUSED.0;
        }
        i32::from(a == b)
    }

    pub unsafe fn secret_get(name: *const u8, nlen: u32, out: *mut u8, capacity: u32) -> i32 {
        let name = str::from_utf8(unsafe { bytes(name, nlen) }).unwrap_or("");
        match STATE.with(|s| s.borrow().secrets.get(name).cloned()) {
            Some(value) => unsafe { fill(out, capacity, value.as_bytes()) },
            None => Code::NOT_FOUND.0,
        }
    }

    pub unsafe fn http_fetch(request: *const u8, rlen: u32, out: *mut u8, capacity: u32) -> i32 {
        let request = unsafe { bytes(request, rlen) }.to_vec(); // out may be the same space
        let answer = match (STATE.with(|s| s.borrow().fetch.clone()), FetchRequest::read(&request)) {
            (Some(fetch), Ok(q)) if request.len() <= MAX_FETCH_REQUEST => fetch(&q),
            _ => Err(Code::REFUSED),
        };
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(code) => return code.0,
        };
        let mut message = vec![0; MAX_FETCH_RESPONSE];
        match (FetchResponse { status, body: &body, ..Default::default() }).write(&mut message) {
            Ok(n) => unsafe { fill(out, capacity, &message[..n]) },
            Err(_) => Code::FAILED.0,
        }
    }

    pub unsafe fn metric_add(name: *const u8, nlen: u32, value: i64) -> i32 {
        let name = str::from_utf8(unsafe { bytes(name, nlen) }).unwrap_or("");
        let letter = |c: char| c.is_ascii_lowercase();
        let good = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || c == '_');
        STATE.with(|s| {
            let metrics = &mut s.borrow_mut().metrics;
            if value < 0 || !good || name.len() > MAX_METRIC_NAME || !metrics.contains_key(name) && metrics.len() >= MAX_METRICS {
                return Code::REFUSED.0;
            }
            *metrics.entry(name.into()).or_default() += value;
            0
        })
    }
}
