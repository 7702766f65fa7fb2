//! The Rust SDK for Souk's plugins. A plugin is a `cdylib` that answers the
//! hooks it is for and says once that it is a plugin:
//!
//! ```
//! use souk::abi::{SelectVersionAnswers, SelectVersionRequest, VersionChoice};
//!
//! fn choose(request: &SelectVersionRequest, out: &mut SelectVersionAnswers) -> Result<(), souk::Error> {
//!     for _app in request.apps {
//!         out.push(&VersionChoice { reason: "the newest", ..Default::default() });
//!     }
//!     Ok(())
//! }
//!
//! souk::plugin!();
//! souk::select_version!(choose);
//! ```
//!
//! It exports the hooks that it names and imports the host functions that it
//! calls; the operator has to allow their groups. Nothing here allocates: what a
//! request holds lies in the host's message, what an answer holds is copied at
//! once. [`abi`] is generated from the contract, and [`value`] reads configurations.
//!
//! Outside of WebAssembly the host functions work in memory, so that a policy's
//! own tests are ordinary tests: see [`native`].
#![cfg_attr(target_arch = "wasm32", no_std)]
#![warn(unsafe_op_in_unsafe_fn)]

pub mod abi;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod value;

pub use abi::{Code, Error, Level};
use abi::Message;

#[cfg(target_arch = "wasm32")]
use abi::host;
#[cfg(not(target_arch = "wasm32"))]
use native::host;

/// Makes a plugin of the crate: write it once.
#[macro_export]
macro_rules! plugin {
    () => {
        #[cfg(target_arch = "wasm32")]
        #[export_name = "souk_abi_1"]
        pub extern "C" fn souk_export_abi() {}

        #[cfg(target_arch = "wasm32")]
        #[export_name = "souk_buffer"]
        pub extern "C" fn souk_export_buffer(min: u32) -> u32 {
            $crate::guest::give_buffer(min)
        }
    };
}

/// Exports `configure`, answered by a function `fn(&str) -> Result<(), &str>`
/// that gets the plugin's configuration as JSON text, once per instance and
/// before any question. Its error stops the load and is what the operator reads.
#[macro_export]
macro_rules! configure {
    ($handler:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[export_name = "configure"]
        pub extern "C" fn souk_export_configure(length: u32) -> u64 {
            $crate::guest::configure(length, $handler)
        }
    };
}

/// What a plugin without the standard library needs: a panic is a trap, without
/// the texts that say where. Write `#![no_std]` and this, and the module is a few
/// kilobytes.
#[macro_export]
macro_rules! panic_is_a_trap {
    () => {
        #[cfg(target_arch = "wasm32")]
        #[panic_handler]
        fn souk_panic(_: &core::panic::PanicInfo) -> ! {
            core::arch::wasm32::unreachable()
        }
    };
}

/// Packs the version of a system as the records have it.
pub const fn os(major: u8, minor: u8, patch: u8) -> u32 {
    (major as u32) << 16 | (minor as u32) << 8 | patch as u32
}

fn length(n: i32) -> Result<usize, Code> {
    usize::try_from(n).map_err(|_| Code(n))
}

/// Places a key among [`abi::BUCKETS`]: the first 8 bytes of
/// SHA-256(salt, 0x00, key) as a big-endian number, modulo the number of buckets.
pub fn bucket(key: &str, salt: &str) -> u32 {
    // Safety: the host reads what the slices are.
    unsafe { host::bucket(key.as_ptr(), key.len() as u32, salt.as_ptr(), salt.len() as u32) as u32 }
}

/// Says whether a version is open to who has the key: a share of it is, always the
/// same people, nobody at 0 and all of them at [`abi::BUCKETS`]. One who has no key
/// (nobody is signed in) gets only what is open to all.
pub fn rolled_out(key: &str, c: &abi::Candidate) -> bool {
    c.rollout >= abi::BUCKETS || (c.rollout > 0 && !key.is_empty() && bucket(key, c.salt) < c.rollout)
}

/// Writes one line to the operator's log; the host limits its rate.
pub fn log(level: Level, line: &str) {
    // Safety: the host reads what the slice is.
    unsafe { host::log(level.0, line.as_ptr(), line.len() as u32) }
}

/// Copies the value of a key in the plugin's own part of the store to `out`.
pub fn kv_get<'o>(key: &str, out: &'o mut [u8]) -> Result<&'o [u8], Code> {
    // Safety: the host writes at most what out has space for.
    let n = unsafe { host::kv_get(key.as_ptr(), key.len() as u32, out.as_mut_ptr(), out.len() as u32) };
    out.get(..length(n)?).ok_or(Code::DOES_NOT_FIT)
}

/// Stores a value for so many seconds, 0 = for ever.
pub fn kv_put(key: &str, value: &[u8], seconds: u32) -> Result<(), Code> {
    // Safety: the host reads what the slices are.
    let n = unsafe { host::kv_put(key.as_ptr(), key.len() as u32, value.as_ptr(), value.len() as u32, seconds) };
    length(n).map(|_| ())
}

/// Removes a key; removing none is no error.
pub fn kv_delete(key: &str) -> Result<(), Code> {
    // Safety: the host reads what the slice is.
    length(unsafe { host::kv_delete(key.as_ptr(), key.len() as u32) }).map(|_| ())
}

/// Stores a value if the present one is `old`; an empty one means that there
/// must be none.
pub fn kv_swap(key: &str, old: &[u8], value: &[u8]) -> Result<(), Code> {
    // Safety: the host reads what the slices are.
    let n = unsafe {
        host::kv_swap(key.as_ptr(), key.len() as u32, old.as_ptr(), old.len() as u32, value.as_ptr(), value.len() as u32)
    };
    length(n).map(|_| ())
}

/// Adds to a counter, which begins at 0, and returns the sum.
pub fn kv_add(key: &str, delta: i64) -> Result<i64, Code> {
    let mut sum = [0; 8];
    // Safety: the host writes 8 bytes.
    length(unsafe { host::kv_add(key.as_ptr(), key.len() as u32, delta, sum.as_mut_ptr()) })?;
    Ok(i64::from_le_bytes(sum))
}

/// Writes a hash of a password to `out`, which 128 bytes are enough for.
pub fn password_hash<'o>(password: &str, out: &'o mut [u8]) -> Result<&'o str, Code> {
    // Safety: the host writes at most what out has space for.
    let n = unsafe { host::password_hash(password.as_ptr(), password.len() as u32, out.as_mut_ptr(), out.len() as u32) };
    let hash = out.get(..length(n)?).ok_or(Code::DOES_NOT_FIT)?;
    core::str::from_utf8(hash).map_err(|_| Code::FAILED)
}

/// Says whether a password has this hash. An empty hash never matches and takes
/// as long as a real one. The error says that the host did not look.
pub fn password_verify(password: &str, hash: &[u8]) -> Result<bool, Code> {
    // Safety: the host reads what the slices are.
    let n = unsafe { host::password_verify(password.as_ptr(), password.len() as u32, hash.as_ptr(), hash.len() as u32) };
    length(n).map(|n| n == 1)
}

/// Returns the HMAC-SHA256 of data (RFC 2104).
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> Result<[u8; 32], Code> {
    let mut sum = [0; 32];
    // Safety: the host reads what the slices are and writes 32 bytes.
    length(unsafe {
        host::hmac_sha256(key.as_ptr(), key.len() as u32, data.as_ptr(), data.len() as u32, sum.as_mut_ptr(), 32)
    })?;
    Ok(sum)
}

/// Says whether both are the same bytes, in a time that depends on their lengths
/// only.
pub fn equal_ct(a: &[u8], b: &[u8]) -> bool {
    // Safety: the host reads what the slices are.
    unsafe { host::equal_ct(a.as_ptr(), a.len() as u32, b.as_ptr(), b.len() as u32) == 1 }
}

/// Copies a secret of the plugin's configuration to `out`, in `sign_in` and
/// `exchange` only. The host takes it out of the log; pages and other people's
/// servers are the plugin's to watch.
pub fn secret<'o>(name: &str, out: &'o mut [u8]) -> Result<&'o str, Code> {
    // Safety: the host writes at most what out has space for.
    let n = unsafe { host::secret_get(name.as_ptr(), name.len() as u32, out.as_mut_ptr(), out.len() as u32) };
    core::str::from_utf8(out.get(..length(n)?).ok_or(Code::DOES_NOT_FIT)?).map_err(|_| Code::FAILED)
}

/// Asks another server, in `sign_in` and `exchange` only. `space` is where the
/// request is written and the answer then lies: an answer that doesn't fit is lost,
/// at most it has [`abi::MAX_FETCH_RESPONSE`]. The operator's log says which rule
/// a refused request breaks.
pub fn fetch<'o>(request: &abi::FetchRequest<'_>, space: &'o mut [u8]) -> Result<abi::FetchResponse<'o>, Code> {
    let most = space.len().min(abi::MAX_FETCH_REQUEST);
    let n = request.write(&mut space[..most]).map_err(|_| Code::REFUSED)?;
    let at = space.as_mut_ptr();
    // Safety: the host reads the request before it writes the answer, and writes at
    // most what space has.
    let n = unsafe { host::http_fetch(at, n as u32, at, space.len() as u32) };
    let answer = space.get(..length(n)?).ok_or(Code::DOES_NOT_FIT)?;
    abi::FetchResponse::read(answer).map_err(|_| Code::FAILED)
}

/// Adds n, which is not negative, to a counter that the operator sees. A plugin has
/// at most [`abi::MAX_METRICS`] of them: a name is no place for what differs from
/// request to request.
pub fn metric_add(name: &str, n: i64) -> Result<(), Code> {
    // Safety: the host reads what the slice is.
    length(unsafe { host::metric_add(name.as_ptr(), name.len() as u32, n) }).map(|_| ())
}

/// A text that is put together in a fixed space; a text that doesn't fit is left
/// out, as a whole.
#[derive(Clone, Copy)]
pub struct Line {
    space: [u8; 1024],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line::new()
    }
}

impl Line {
    pub const fn new() -> Self {
        Line { space: [0; 1024], len: 0 }
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        if let Some(room) = self.space.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
        self
    }

    /// Adds a number; package fmt would do the same and be ten times as large.
    pub fn number(&mut self, n: i64) -> &mut Self {
        let (mut digits, mut i, mut rest) = ([0; 20], 20, n.unsigned_abs());
        loop {
            i -= 1;
            digits[i] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if n < 0 {
            self.text("-");
        }
        self.text(core::str::from_utf8(&digits[i..]).unwrap_or(""))
    }

    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.space[..self.len]).unwrap_or("")
    }
}
