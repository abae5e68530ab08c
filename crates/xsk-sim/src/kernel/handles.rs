use std::collections::BTreeMap;

use xsk::backend::Handle;
use xsk_core::errno::{EBADF, EINVAL, ENOTSOCK};

use crate::arena::Id;
use crate::error::{Sys, errno};
use crate::socket::Socket;
use crate::xdp::{Link, Program, XskMap};

use super::Kernel;

/// What a handle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    Socket(Id<Socket>),
    Map(Id<XskMap>),
    Program(Id<Program>),
    Link(Id<Link>),
}

/// The handles of the process. They count from 2^20 and are never used again, so that none is taken for a file descriptor
/// or for another object.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    open: BTreeMap<i32, Object>,
    made: i32,
}

const FIRST: i32 = 1 << 20;

impl Handles {
    pub(crate) fn open(&mut self, object: Object) -> Handle {
        let number = FIRST + self.made;
        self.made += 1;
        self.open.insert(number, object);
        Handle(number)
    }

    pub(crate) fn close(&mut self, handle: Handle) -> Option<Object> {
        self.open.remove(&handle.0)
    }

    pub(crate) fn get(&self, handle: Handle) -> Sys<Object> {
        self.open.get(&handle.0).map_or_else(|| errno(EBADF), |object| Ok(*object))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, Object)> {
        self.open.iter().map(|(number, object)| (Handle(*number), *object))
    }
}

impl Kernel {
    /// As every socket call: `EBADF`, then `ENOTSOCK` (`net/socket.c:sockfd_lookup_light`).
    pub(crate) fn socket(&self, handle: Handle) -> Sys<Id<Socket>> {
        match self.handles.get(handle)? {
            Object::Socket(socket) => Ok(socket),
            _ => errno(ENOTSOCK),
        }
    }

    pub(crate) fn map(&self, handle: Handle) -> Sys<Id<XskMap>> {
        match self.handles.get(handle)? {
            Object::Map(map) => Ok(map),
            _ => errno(EINVAL),
        }
    }

    pub(crate) fn program(&self, handle: Handle) -> Sys<Id<Program>> {
        match self.handles.get(handle)? {
            Object::Program(program) => Ok(program),
            _ => errno(EINVAL),
        }
    }

    pub(crate) fn link(&self, handle: Handle) -> Sys<Id<Link>> {
        match self.handles.get(handle)? {
            Object::Link(link) => Ok(link),
            _ => errno(EINVAL),
        }
    }
}
