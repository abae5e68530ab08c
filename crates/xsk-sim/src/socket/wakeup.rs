use xsk_core::errno::{ENETDOWN, ENOBUFS, ENXIO, EOPNOTSUPP};

use crate::arena::Id;
use crate::error::{Sys, errno};
use crate::kernel::Kernel;

use super::Socket;

impl Kernel {
    fn check_up(&self, socket: Id<Socket>) -> Sys<()> {
        let up = self.sockets[socket].device.and_then(|id| self.devices.get(id)).is_some_and(|d| d.up);
        if up { Ok(()) } else { errno(ENETDOWN) }
    }

    /// `net/xdp/xsk.c:__xsk_sendmsg`. `blocking`: without `MSG_DONTWAIT`.
    pub(crate) fn sendmsg(&mut self, id: Id<Socket>, blocking: bool) -> Sys<()> {
        if !self.sockets[id].is_bound() {
            return errno(ENXIO);
        }
        // 5.10 looks at these two the other way round.
        if self.profile.sendmsg_checks_device_last {
            if blocking {
                return errno(EOPNOTSUPP);
            }
            self.check_up(id)?;
        } else {
            self.check_up(id)?;
            if blocking {
                return errno(EOPNOTSUPP);
            }
        }
        if self.sockets[id].tx.is_none() {
            return errno(ENOBUFS);
        }
        if self.wanted_wakeups(&self.sockets[id]).tx { self.kick(id) } else { Ok(()) }
    }

    /// `net/xdp/xsk.c:__xsk_recvmsg`: nothing to do in copy mode but to check.
    pub(crate) fn recvmsg(&mut self, id: Id<Socket>, blocking: bool) -> Sys<()> {
        if !self.profile.has_recvmsg {
            return errno(EOPNOTSUPP);
        }
        if !self.sockets[id].is_bound() {
            return errno(ENXIO);
        }
        self.check_up(id)?;
        if self.sockets[id].rx.is_none() {
            return errno(ENOBUFS);
        }
        if blocking {
            return errno(EOPNOTSUPP);
        }
        if self.wanted_wakeups(&self.sockets[id]).rx { self.kick(id) } else { Ok(()) }
    }
}
