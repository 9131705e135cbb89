//! Makes the randomness that a test's thread gets from the operating system follow from a seed.
//!
//! Hash maps of the standard library have random keys, and Tokio's `select!` begins with a random branch. Both come from
//! the C library's `getrandom`, and nothing else can be put in its place: the standard library has no setting, Tokio's seed
//! needs a build of all crates with `--cfg tokio_unstable`, and the crates' own hash maps take the standard library's keys.
//! So this crate replaces `getrandom` in the program that it is linked into. After [`seed_this_thread`], a thread gets
//! numbers that follow from its seed, and all other threads get the operating system's.
//!
//! That takes `unsafe`, which the workspace forbids, in one function: its name has to be exported, and it is given a pointer.
//!
//! For tests alone: what is random for the sake of security isn't any more on such a thread.

use std::cell::Cell;

thread_local! {
    /// The state of the generator (SplitMix64); None on a thread without a seed.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes all randomness of this thread follow from `seed`. Call it first thing on a new thread: what was random before stays
/// so.
pub fn seed_this_thread(seed: u64) {
    STATE.set(Some(seed));
}

/// Whether the standard library's hash maps get their keys from here, as they do on Linux.
#[must_use]
pub fn works() -> bool {
    let key = || {
        let thread = std::thread::spawn(|| {
            seed_this_thread(1);
            std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 1)
        });
        thread.join().ok()
    };
    key() == key()
}

#[cfg(target_os = "linux")]
mod replaced {
    use std::{
        ffi::{c_uint, c_void},
        mem::MaybeUninit,
    };

    use rustix::rand::GetRandomFlags;

    use super::STATE;

    /// The C library's `getrandom`, for all of the program.
    ///
    /// # Safety
    /// `buffer` points to `length` bytes that may be written and that nobody else uses meanwhile, as the C library requires.
    #[expect(unsafe_code, reason = "a C function can be replaced in no other way")]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        // SAFETY: the caller promises that so many bytes may be written. They need not be initialized.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length) };
        let filled = fill(buffer, flags);
        isize::try_from(filled).unwrap_or(isize::MAX)
    }

    /// Fills a buffer, or its beginning, and returns how many bytes were filled.
    fn fill(buffer: &mut [MaybeUninit<u8>], flags: c_uint) -> usize {
        let Some(mut state) = STATE.get() else {
            return from_the_system(buffer, flags);
        };
        for chunk in buffer.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            for (byte, random) in chunk.iter_mut().zip(word.to_le_bytes()) {
                byte.write(random);
            }
        }
        STATE.set(Some(state));
        buffer.len()
    }

    /// A caller would look for the reason of a failure in the C library's `errno`, which safe code can't set. So a system
    /// without these flags gets none, and one without randomness ends the program, as the standard library would.
    fn from_the_system(buffer: &mut [MaybeUninit<u8>], flags: c_uint) -> usize {
        for flags in [GetRandomFlags::from_bits_retain(flags), GetRandomFlags::empty()] {
            if let Ok((filled, _)) = rustix::rand::getrandom(&mut *buffer, flags) {
                return filled.len();
            }
        }
        std::process::abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> u64 {
        std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 1)
    }

    fn key_of_a_thread(seed: Option<u64>) -> u64 {
        let thread = std::thread::spawn(move || {
            if let Some(seed) = seed {
                seed_this_thread(seed);
            }
            key()
        });
        thread.join().unwrap_or_default()
    }

    #[test]
    fn hash_maps_of_threads_with_one_seed_have_the_same_keys() {
        assert!(works());
        assert_eq!(key_of_a_thread(Some(7)), key_of_a_thread(Some(7)));
        assert_ne!(key_of_a_thread(Some(7)), key_of_a_thread(Some(8)));
    }

    #[test]
    fn threads_without_a_seed_have_the_systems_randomness() {
        assert_ne!(key_of_a_thread(None), key_of_a_thread(None));
    }
}
