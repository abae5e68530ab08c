//! What epoll and its like can wait on: a descriptor of the operating system for a simulated socket.
//!
//! It is one end of a connected pair. The kernel holds the other end, and makes the user's end readable with a byte, and
//! not writable by filling its send buffer. Both are sent anew each time somebody is woken, so that edge-triggered waiting
//! (`EPOLLET`, tokio, mio) sees an edge each time, as it does on Linux.

use crate::arena::Id;
use crate::kernel::Kernel;

use super::Socket;

#[cfg(unix)]
mod pair {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// The two ends.
    #[derive(Debug)]
    pub(crate) struct Descriptor {
        user: UnixStream,
        kernel: UnixStream,
        readable: bool,
        writable: bool,
    }

    /// Reads all that is there.
    fn drain(mut end: &UnixStream) {
        let mut bytes = [0; 1 << 14];
        while end.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }

    impl Descriptor {
        pub(crate) fn new() -> io::Result<Self> {
            let (user, kernel) = UnixStream::pair()?;
            user.set_nonblocking(true)?;
            kernel.set_nonblocking(true)?;
            Ok(Self { user, kernel, readable: false, writable: true })
        }

        pub(crate) fn number(&self) -> i32 {
            self.user.as_raw_fd()
        }

        pub(crate) fn is_readable(&self) -> bool {
            self.readable
        }

        /// `edge`: also if it was so before. What the pair refuses (it never does) leaves it as it is.
        pub(crate) fn set_readable(&mut self, readable: bool, edge: bool) {
            if self.readable && (!readable || edge) {
                drain(&self.user);
                self.readable = false;
            }
            if readable && !self.readable {
                self.readable = (&self.kernel).write(&[1]).is_ok();
            }
        }

        /// As [`set_readable`](Self::set_readable).
        pub(crate) fn set_writable(&mut self, writable: bool, edge: bool) {
            if !writable && self.writable {
                let bytes = [0; 1 << 16];
                while (&self.user).write(&bytes).is_ok_and(|count| count > 0) {}
            }
            // Room that comes back is the edge.
            let again = writable && self.writable && edge && (&self.user).write(&[0]).is_ok();
            if writable && (again || !self.writable) {
                drain(&self.kernel);
            }
            self.writable = writable;
        }
    }
}

/// Elsewhere there are none.
#[cfg(not(unix))]
mod pair {
    #[derive(Debug)]
    pub(crate) struct Descriptor(std::convert::Infallible);

    impl Descriptor {
        pub(crate) fn new() -> std::io::Result<Self> {
            Err(std::io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn number(&self) -> i32 {
            match self.0 {}
        }

        pub(crate) fn is_readable(&self) -> bool {
            match self.0 {}
        }

        pub(crate) fn set_readable(&mut self, _: bool, _: bool) {
            match self.0 {}
        }

        pub(crate) fn set_writable(&mut self, _: bool, _: bool) {
            match self.0 {}
        }
    }
}

pub(crate) use pair::Descriptor;

impl Kernel {
    /// The descriptor of a socket, which gets one when somebody asks first.
    pub(crate) fn descriptor(&mut self, id: Id<Socket>) -> Option<i32> {
        if self.sockets[id].descriptor.is_none() {
            self.sockets[id].descriptor = Descriptor::new().ok();
            self.refresh_descriptor(id);
        }
        Some(self.sockets[id].descriptor.as_ref()?.number())
    }

    /// Makes a socket's descriptor say what poll would say; only in the background, where somebody can wait on it.
    pub(crate) fn refresh_descriptor(&mut self, id: Id<Socket>) {
        self.show_on_descriptor(id, false, false);
    }

    /// A reader or a writer was woken: whoever waits for an edge gets one.
    pub(super) fn show_on_descriptor(&mut self, id: Id<Socket>, reader: bool, writer: bool) {
        if self.running.is_none() {
            return;
        }
        let Some(socket) = self.sockets.get(id).filter(|socket| socket.descriptor.is_some()) else { return };
        let (readable, writable) = self.readiness(socket);
        if let Some(descriptor) = &mut self.sockets[id].descriptor {
            descriptor.set_readable(readable, reader);
            descriptor.set_writable(writable, writer);
        }
    }

    /// As [`refresh_descriptor`](Self::refresh_descriptor), all of them. True if one is readable: its user may empty the
    /// ring without a call.
    pub(crate) fn refresh_descriptors(&mut self) -> bool {
        if self.running.is_none() {
            return false;
        }
        let have: Vec<Id<Socket>> = {
            let sockets = self.sockets.iter().filter(|(_, socket)| socket.descriptor.is_some());
            sockets.map(|(id, _)| id).collect()
        };
        let mut readable = false;
        for id in have {
            self.refresh_descriptor(id);
            readable |= self.sockets[id].descriptor.as_ref().is_some_and(Descriptor::is_readable);
        }
        readable
    }
}
