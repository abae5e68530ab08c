use xsk::backend::{Capabilities, Handle};
use xsk_core::errno::{EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT};

use crate::error::{Sys, errno};
use crate::kernel::{Kernel, Object};

use super::Socket;

/// `SOCK_RAW`, and the bits of a socket's type that are flags.
const SOCK_RAW: i32 = 3;
const SOCK_FLAGS: i32 = 0o2_004_000;

impl Kernel {
    /// `socket(AF_XDP, kind, protocol)` (`net/xdp/xsk.c:xsk_create`).
    pub(crate) fn create_socket(&mut self, kind: i32, protocol: i32) -> Sys<Handle> {
        if !self.may(Capabilities::CAP_NET_RAW) {
            return errno(EPERM);
        }
        if kind & !SOCK_FLAGS != SOCK_RAW {
            return errno(ESOCKTNOSUPPORT);
        }
        if protocol != 0 {
            return errno(EPROTONOSUPPORT);
        }
        let socket = self.sockets.insert(Socket::new(&self.profile));
        Ok(self.handles.open(Object::Socket(socket)))
    }
}
