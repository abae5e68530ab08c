//! Synchronous rtnetlink: one request, its answers, its acknowledgement.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Mutex, PoisonError},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::{Errno, Error};

/// A netlink socket of one namespace: that of the thread that opened it, whoever uses it later.
#[derive(Debug)]
pub(crate) struct Route {
    // The lock makes request and answers one transaction.
    socket: Mutex<Connection>,
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    sequence: u32,
}

/// What a request is about, for the error message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) what: &'a str,
    pub(crate) interface: Option<&'a str>,
}

impl Step<'_> {
    fn failed(self, error: &io::Error) -> Error {
        Error::io(self.what, self.interface, error)
    }

    fn unreadable(self, reason: impl ToString) -> Error {
        Error::Answer {
            step: self.what.into(),
            interface: self.interface.map(Into::into),
            reason: reason.to_string(),
        }
    }
}

impl Route {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // The kernel's own sentence on a refusal, without the request echoed before it.
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket: Mutex::new(Connection { socket, sequence: 0 }) })
    }

    /// Sends a request that changes something; returns when the kernel has done it.
    pub(crate) fn change(
        &self,
        step: Step<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Error> {
        self.transact(step, message, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
    }

    /// Asks for one object.
    pub(crate) fn get(
        &self,
        step: Step<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.transact(step, message, NLM_F_REQUEST | NLM_F_ACK)
    }

    /// Asks for all objects.
    pub(crate) fn dump(
        &self,
        step: Step<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.transact(step, message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// Runs `f` with the descriptor of a socket in this namespace.
    pub(crate) fn with_fd<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        f(self.lock().socket.as_fd())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave half a transaction that the sequence number would not expose.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transact(
        &self,
        step: Step<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut connection = self.lock();
        connection.sequence = connection.sequence.wrapping_add(1);
        let sequence = connection.sequence;

        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        request.header.sequence_number = sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        retry(|| connection.socket.send(&bytes, 0)).map_err(|e| step.failed(&e))?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = retry(|| connection.socket.recv_from_full()).map_err(|e| step.failed(&e))?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|e| step.unreadable(e))?;
                let length = (answer.header.length as usize).next_multiple_of(4).min(rest.len());
                if length == 0 {
                    return Err(step.unreadable("a message of length 0"));
                }
                rest = &rest[length..];
                if answer.header.sequence_number != sequence {
                    continue; // left over from a transaction that failed half-way
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(answers),
                        Some(code) => {
                            return Err(Error::Kernel {
                                step: step.what.into(),
                                interface: step.interface.map(Into::into),
                                errno: Errno(code.get().wrapping_neg()),
                                detail: kernel_sentence(&error.header),
                            });
                        }
                    },
                    NetlinkPayload::Overrun(_) => return Err(step.unreadable("overrun")),
                    _ => {}
                }
            }
        }
    }
}

/// The text attribute (NLMSGERR_ATTR_MSG) behind the 16 bytes of request header in an error message.
fn kernel_sentence(after_code: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    const HEADER: usize = 16;
    NlasIterator::new(after_code.get(HEADER..)?).flatten().find(|nla| nla.kind() == NLMSGERR_ATTR_MSG).map(
        |nla| {
            let text = nla.value();
            String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned()
        },
    )
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
