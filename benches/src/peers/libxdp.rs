//! libxdp, from C.

use std::ffi::c_char;
use std::io;
use std::ptr::NonNull;

// Linked for the C file.
use libbpf_sys as _;
use libxdp_sys as _;
use xsk::backend::Handle;

use crate::counterpart::{ENTRIES, FRAME_SIZE, FRAMES};
use crate::drive::Driver;
use crate::place::Target;
use crate::rings::User;

#[repr(C)]
struct CUser {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn c_user_open(
        interface: *const c_char,
        queue: u32,
        entries: u32,
        frame_size: u32,
        bind_flags: u16,
    ) -> *mut CUser;
    fn c_user_close(user: *mut CUser);
    fn c_user_fd(user: *const CUser) -> i32;
    fn c_user_receive(user: *mut CUser, count: u32) -> u32;
    fn c_user_transmit(user: *mut CUser, count: u32) -> u32;
    fn c_user_complete(user: *mut CUser, count: u32) -> u32;
    fn c_user_refill(user: *mut CUser, count: u32) -> u32;
    fn c_user_prime(user: *mut CUser, entries: u32, frame_size: u32) -> u32;
    fn c_user_load(user: *mut CUser, count: u32, packet: *const u8, len: u32, first: u32, frame_size: u32);
    fn c_user_recycle(user: *mut CUser, count: u32) -> u32;
    fn c_user_wake(user: *mut CUser) -> u32;
    fn c_user_forward(user: *mut CUser, count: u32) -> u32;
    fn c_user_forward_in_place(user: *mut CUser, count: u32) -> u32;
}

/// A loop in C over libxdp's inline helpers.
#[derive(Debug)]
pub(super) struct Libxdp<const IN_PLACE: bool> {
    user: NonNull<CUser>,
}

impl<const IN_PLACE: bool> Libxdp<IN_PLACE> {
    /// Opens a socket that no program leads to.
    ///
    /// # Panics
    /// If that fails.
    pub(super) fn open(at: Target<'_>) -> Self {
        let (interface, flags) = (at.c_name(), at.mode.bind_flags().bits());
        // SAFETY: a C string.
        let user = unsafe { c_user_open(interface.as_ptr(), at.queue, ENTRIES, FRAME_SIZE, flags) };
        let user = NonNull::new(user).unwrap_or_else(|| panic!("libxdp: {}", io::Error::last_os_error()));
        Self { user }
    }
}

impl<const IN_PLACE: bool> Drop for Libxdp<IN_PLACE> {
    fn drop(&mut self) {
        // SAFETY: from `open`, and not used afterwards.
        unsafe { c_user_close(self.user.as_ptr()) }
    }
}

/// Calls a C function of a user and a count, at most the largest batch.
macro_rules! call {
    ($function:ident, $self:ident, $count:ident) => {{
        debug_assert!($count <= crate::rings::MAX_BATCH);
        // SAFETY: from `open`; the count fits the arrays.
        unsafe { $function($self.user.as_ptr(), $count) }
    }};
}

impl<const IN_PLACE: bool> User for Libxdp<IN_PLACE> {
    fn socket(&self) -> Handle {
        // SAFETY: from `open`.
        Handle(unsafe { c_user_fd(self.user.as_ptr()) })
    }

    fn receive(&mut self, count: u32) -> u32 {
        call!(c_user_receive, self, count)
    }

    fn transmit(&mut self, count: u32) -> u32 {
        call!(c_user_transmit, self, count)
    }

    fn complete(&mut self, count: u32) -> u32 {
        call!(c_user_complete, self, count)
    }

    fn refill(&mut self, count: u32) -> u32 {
        call!(c_user_refill, self, count)
    }

    #[inline(always)]
    fn forward(&mut self, count: u32) -> u32 {
        if IN_PLACE {
            call!(c_user_forward_in_place, self, count)
        } else {
            call!(c_user_forward, self, count)
        }
    }
}

impl<const IN_PLACE: bool> Driver for Libxdp<IN_PLACE> {
    fn prime(&mut self) {
        let half = FRAMES / 2;
        // SAFETY: from `open`; the frames are those of its UMEM.
        assert_eq!(unsafe { c_user_prime(self.user.as_ptr(), half, FRAME_SIZE) }, half);
    }

    fn load(&mut self, count: u32, packet: &[u8]) {
        assert!(count <= crate::rings::MAX_BATCH && packet.len() <= FRAME_SIZE as usize);
        let (bytes, len) = (packet.as_ptr(), packet.len() as u32);
        // SAFETY: from `open`; the count fits the arrays, the packet a frame, and the frames are in the second half.
        unsafe { c_user_load(self.user.as_ptr(), count, bytes, len, FRAMES / 2, FRAME_SIZE) }
    }

    fn recycle(&mut self, count: u32) -> u32 {
        call!(c_user_recycle, self, count)
    }

    fn wake(&mut self) -> u32 {
        // SAFETY: from `open`.
        unsafe { c_user_wake(self.user.as_ptr()) }
    }
}
