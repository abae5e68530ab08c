use xsk_core::errno::ENETDOWN;

use crate::arena::Id;
use crate::device::Device;
use crate::kernel::{Event, Kernel};

use super::{Socket, State};

impl Kernel {
    /// One file descriptor or mapping less; the last one releases the socket.
    pub(crate) fn put_socket(&mut self, id: Id<Socket>) {
        self.sockets[id].references -= 1;
        if self.sockets[id].references == 0 {
            self.release_socket(id);
        }
    }

    /// `net/xdp/xsk.c:xsk_release`. What other sockets can see of it at once: out of the XSKMAPs, and no more packets. The
    /// queue and the memory follow when nobody can be using them any more.
    fn release_socket(&mut self, id: Id<Socket>) {
        self.drop_partial(id);
        for (_, map) in self.maps.iter_mut() {
            map.remove_socket(id);
        }
        self.remove_sender(id);
        let socket = &mut self.sockets[id];
        socket.state = State::Unbound;
        socket.rx = None;
        socket.tx = None;
        socket.descriptor = None;
        // An RCU grace period and a work queue: some 20 milliseconds where it was measured.
        let after = self.rng.micros(10_000..30_000);
        self.clock.plan(after, Event::ReleaseSocket(id));
    }

    pub(crate) fn release_later(&mut self, id: Id<Socket>) {
        let socket = &mut self.sockets[id];
        if socket.in_flight > 0 {
            // Packets hold their socket, and so its pool.
            socket.release_overdue = true;
        } else {
            self.destroy_socket(id);
        }
    }

    /// The socket is no more, and neither are the queue and the memory if it was their last user.
    pub(crate) fn destroy_socket(&mut self, id: Id<Socket>) {
        let Some(socket) = self.sockets.remove(id) else { return };
        if let Some(pool) = socket.pool {
            self.put_pool(pool);
        }
        if let Some(umem) = socket.umem {
            self.put_umem(umem);
        }
    }

    /// The device of bound sockets went away (`net/xdp/xsk.c:xsk_notifier`).
    pub(crate) fn unbind_sockets(&mut self, device: Id<Device>) {
        let mut woken = Vec::new();
        for (id, socket) in self.sockets.iter_mut() {
            if socket.device == Some(device) && socket.state == State::Bound {
                socket.error = ENETDOWN;
                socket.state = State::Unbound;
                woken.push(id);
            }
        }
        for id in woken {
            self.wake_error(id);
        }
        for pool in std::mem::take(&mut self.devices[device].pools).into_values() {
            self.stop_driver(pool);
        }
        self.refresh_descriptors();
    }
}
