use xsk::backend::Handle;
use xsk_core::errno::{E2BIG, EBADF, EEXIST, EINVAL, ENOBUFS, ENOENT, EOPNOTSUPP};

use crate::arena::Id;
use crate::error::{Sys, errno};
use crate::kernel::{Kernel, Object};
use crate::socket::Socket;

/// An XSKMAP (`net/xdp/xskmap.c`).
#[derive(Debug)]
pub(crate) struct XskMap {
    entries: u32,
    /// By key.
    slots: Vec<(u32, Id<Socket>)>,
}

impl XskMap {
    /// The socket in a slot; `None` if there is none, or no such slot.
    pub(crate) fn get(&self, key: u32) -> Option<Id<Socket>> {
        self.find(key).ok().map(|at| self.slots[at].1)
    }

    fn find(&self, key: u32) -> Result<usize, usize> {
        match self.slots.get(key as usize) {
            // Nearly always there is a socket in each slot, from the first on.
            Some((there, _)) if *there == key => Ok(key as usize),
            _ => self.slots.binary_search_by_key(&key, |(key, _)| *key),
        }
    }

    fn insert(&mut self, key: u32, socket: Id<Socket>) {
        match self.find(key) {
            Ok(at) => self.slots[at].1 = socket,
            Err(at) => self.slots.insert(at, (key, socket)),
        }
    }

    fn remove(&mut self, key: u32) {
        if let Ok(at) = self.find(key) {
            self.slots.remove(at);
        }
    }

    /// Takes a socket out of all its slots.
    pub(crate) fn remove_socket(&mut self, socket: Id<Socket>) {
        self.slots.retain(|(_, at)| *at != socket);
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, Id<Socket>)> {
        self.slots.iter().copied()
    }
}

/// `BPF_NOEXIST`, `BPF_EXIST`.
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

impl Kernel {
    /// `BPF_MAP_CREATE`.
    pub(crate) fn create_map(&mut self, entries: u32) -> Sys<Handle> {
        if entries == 0 {
            return errno(EINVAL);
        }
        let map = self.maps.insert(XskMap { entries, slots: Vec::new() });
        Ok(self.handles.open(Object::Map(map)))
    }

    /// `BPF_MAP_UPDATE_ELEM` (`net/xdp/xskmap.c:xsk_map_update_elem`).
    pub(crate) fn update_map(&mut self, map: Handle, key: u32, socket: Handle, flags: u64) -> Sys<()> {
        let map = self.map(map)?;
        let entries = self.maps[map].entries;
        if flags > EXIST {
            return errno(EINVAL);
        }
        if key >= entries {
            return errno(E2BIG);
        }
        let socket = self.socket(socket)?;
        let map = &mut self.maps[map];
        let before = map.get(key);
        if self.profile.map_needs_rx && self.sockets[socket].rx.is_none() {
            return errno(ENOBUFS);
        }
        match before {
            Some(before) if before == socket => return Ok(()),
            Some(_) if flags == NOEXIST => return errno(EEXIST),
            None if flags == EXIST => return errno(ENOENT),
            _ => {}
        }
        map.insert(key, socket);
        Ok(())
    }

    /// `BPF_MAP_DELETE_ELEM`.
    pub(crate) fn delete_from_map(&mut self, map: Handle, key: u32) -> Sys<()> {
        let map = self.map(map)?;
        let map = &mut self.maps[map];
        if key >= map.entries {
            return errno(EINVAL);
        }
        map.remove(key);
        Ok(())
    }

    /// `BPF_MAP_LOOKUP_ELEM`: programs may, user space may not.
    pub(crate) fn look_up_in_map(&self, map: Handle) -> Sys<()> {
        match self.handles.get(map)? {
            Object::Map(_) => errno(EOPNOTSUPP),
            _ => errno(EBADF),
        }
    }
}
