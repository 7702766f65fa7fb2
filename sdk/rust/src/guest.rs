//! What a plugin needs in WebAssembly besides the contract: where messages lie.
//! An instance has one thread and answers one call at a time, which is what makes
//! the statics below sound.

use crate::abi::{Error, BUFFER_SIZE, MAX_REQUEST, MAX_SIGN_IN_VERDICT};
use core::{ptr, slice, str};

const PAGE: usize = 65536;

static mut BUFFER: [u64; BUFFER_SIZE / 8] = [0; BUFFER_SIZE / 8];
static mut VERDICT: [u64; MAX_SIGN_IN_VERDICT / 8] = [0; MAX_SIGN_IN_VERDICT / 8];
static mut LARGE: (usize, usize) = (0, 0); // address and size of a buffer from the module's memory

fn message_at() -> (usize, usize) {
    // Safety: one thread.
    let large = unsafe { LARGE };
    if large.1 > 0 {
        return large;
    }
    (unsafe { ptr::addr_of!(BUFFER) } as usize, BUFFER_SIZE)
}

/// Answers the host's request for space; a buffer that is larger than the first
/// is taken from the module's memory and stays.
pub fn give_buffer(min: u32) -> u32 {
    let min = min as usize;
    if min > MAX_REQUEST {
        return 0;
    }
    if min > message_at().1 {
        let pages = (min + PAGE - 1) / PAGE;
        let at = core::arch::wasm32::memory_grow(0, pages);
        if at == usize::MAX {
            return 0;
        }
        // Safety: one thread; the pages are new, so nothing else has them.
        unsafe { LARGE = (at * PAGE, pages * PAGE) };
    }
    message_at().0 as u32
}

fn message<'a>(length: u32) -> &'a [u8] {
    let (at, space) = message_at();
    // Safety: the host writes to the buffer between two calls only.
    unsafe { slice::from_raw_parts(at as *const u8, space.min(length as usize)) }
}

fn place(at: *const u8, n: usize) -> u64 {
    (at as u64) << 32 | n as u64
}

/// Runs a hook: the result is where its verdict lies, an abstention or an error.
pub fn hook(length: u32, answer: impl FnOnce(&[u8], &mut [u8]) -> Result<usize, Error>) -> u64 {
    // Safety: one thread; the host reads the verdict before the next call.
    let space = unsafe { slice::from_raw_parts_mut(ptr::addr_of_mut!(VERDICT) as *mut u8, MAX_SIGN_IN_VERDICT) };
    match answer(message(length), space) {
        Ok(0) => 0,
        Ok(n) => place(space.as_ptr(), n),
        Err(Error(code)) => u64::from(code.max(1)),
    }
}

/// Runs configure: the result is 0 or where a text lies.
pub fn configure<'e>(length: u32, handler: impl FnOnce(&'e str) -> Result<(), &'e str>) -> u64 {
    match handler(str::from_utf8(message(length)).unwrap_or("")) {
        Ok(()) => 0,
        Err("") => 1,
        Err(wrong) => place(wrong.as_ptr(), wrong.len()),
    }
}
