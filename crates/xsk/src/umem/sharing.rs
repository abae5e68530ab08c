//! Which sockets a UMEM has, and with whom the next one shares it.

use std::sync::Arc;

use super::Inner;
use crate::backend::{Handle, NamespaceId, OwnedHandle};

/// A queue of an interface. Fill and completion rings belong to it, not to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueKey {
    pub(crate) namespace: NamespaceId,
    pub(crate) ifindex: u32,
    pub(crate) queue: u32,
}

/// How the next socket comes by the UMEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// No socket is bound: register the memory with this one.
    Register,
    /// Share it with a bound socket (`XDP_SHARED_UMEM`).
    Share { member: u64, socket: Handle, rings: PoolRings },
}

/// Where the fill and completion rings of a sharing socket come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolRings {
    /// The queue has none yet: the socket makes them.
    New,
    /// The queue has them, and an open socket holds them.
    Held,
    /// The queue has them, but the socket that held them is closed.
    Orphaned,
}

/// The sockets of a UMEM.
#[derive(Debug, Default)]
pub(crate) struct State {
    registered: Option<(NamespaceId, OwnedHandle)>,
    members: Vec<Member>,
    next_member: u64,
    multi_buffer: bool,
}

#[derive(Debug)]
struct Member {
    id: u64,
    key: QueueKey,
    socket: Handle,
    pool_rings: bool,
    /// The kernel says that its device is gone: nobody can share with it.
    dead: bool,
}

impl State {
    /// The kernel compares with the queue of the socket that is named (`net/xdp/xsk.c:xsk_bind`): one on that very queue if
    /// there is one, else any.
    pub(crate) fn plan(&self, key: &QueueKey) -> Plan {
        let alive = || self.members.iter().filter(|member| !member.dead);
        let share = |member: &Member, rings| Plan::Share { member: member.id, socket: member.socket, rings };
        if let Some(member) = alive().find(|member| member.key == *key) {
            let held = alive().any(|member| member.key == *key && member.pool_rings);
            return share(member, if held { PoolRings::Held } else { PoolRings::Orphaned });
        }
        alive().next().map_or(Plan::Register, |member| share(member, PoolRings::New))
    }

    /// The queues of an interface that have sockets.
    pub(crate) fn queues_of(&self, namespace: NamespaceId, ifindex: u32) -> Vec<u32> {
        let theirs =
            self.members.iter().filter(|it| (it.key.namespace, it.key.ifindex) == (namespace, ifindex));
        theirs.map(|member| member.key.queue).collect()
    }

    /// Notes that the socket of `plan` cannot be shared with. False if the plan names none.
    pub(crate) fn give_up(&mut self, plan: Plan) -> bool {
        let Plan::Share { member: id, .. } = plan else { return false };
        self.members.iter_mut().filter(|member| member.id == id).for_each(|member| member.dead = true);
        true
    }

    /// Keeps a socket that has the memory registered, for the first one that binds.
    pub(crate) fn keep_registered(&mut self, namespace: NamespaceId, socket: OwnedHandle) {
        self.registered = Some((namespace, socket));
    }

    /// The socket that was kept, if it is of this namespace: a socket finds interfaces in the namespace it was made in.
    pub(crate) fn take_registered(&mut self, namespace: NamespaceId) -> Option<OwnedHandle> {
        self.registered.take().filter(|(made_in, _)| *made_in == namespace).map(|(_, socket)| socket)
    }

    pub(crate) fn multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// Whether the registration in use takes packets of several buffers: decided by the bind that registered.
    pub(crate) fn set_multi_buffer(&mut self, multi_buffer: bool) {
        self.multi_buffer = multi_buffer;
    }
}

/// A socket's place in the list of its UMEM's sockets. Dropping it takes the socket out; it must still be open then.
pub(crate) struct Membership {
    umem: Arc<Inner>,
    id: u64,
}

impl Membership {
    pub(super) fn new(
        umem: &Arc<Inner>,
        state: &mut State,
        key: QueueKey,
        socket: Handle,
        pool_rings: bool,
    ) -> Self {
        let id = state.next_member;
        state.next_member += 1;
        state.members.push(Member { id, key, socket, pool_rings, dead: false });
        Self { umem: Arc::clone(umem), id }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.umem.lock().members.retain(|member| member.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_lost_its_device_is_given_up() {
        let key = |queue| QueueKey { namespace: NamespaceId([1, 2]), ifindex: 3, queue };
        let member = |id: u32| Member {
            id: id.into(),
            key: key(id),
            socket: Handle(id as i32),
            pool_rings: true,
            dead: false,
        };
        let mut state = State { members: vec![member(0), member(1)], ..State::default() };
        let shared = |state: &State| match state.plan(&key(9)) {
            Plan::Share { socket, .. } => Some(socket),
            Plan::Register => None,
        };
        assert_eq!(shared(&state), Some(Handle(0)));
        let plan = state.plan(&key(0));
        assert!(state.give_up(plan));
        assert_eq!(shared(&state), Some(Handle(1)));
        let plan = state.plan(&key(0));
        assert!(state.give_up(plan));
        assert_eq!(shared(&state), None);
        // Who would have registered the memory has nobody to give up: asking again would change nothing.
        assert!(!state.give_up(Plan::Register));
    }
}
