//! The mutants: in each one rule of the simulated kernel is not Linux's.

/// A change of one rule.
pub(crate) struct Mutant {
    /// The rule, with the section of its test.
    pub(crate) rule: &'static str,
    /// Below crates/xsk-sim/src.
    pub(crate) file: &'static str,
    /// Occurs once in the file.
    pub(crate) text: &'static str,
    pub(crate) replacement: &'static str,
}

const fn mutant(
    rule: &'static str,
    file: &'static str,
    text: &'static str,
    replacement: &'static str,
) -> Mutant {
    Mutant { rule, file, text, replacement }
}

pub(crate) const MUTANTS: &[Mutant] = &[
    // Options.
    mutant(
        "2.1.2: a bound socket gets no more rings",
        "socket/setsockopt.rs",
        "if socket.state != State::Ready {\n            return errno(EBUSY);\n        }\n        let exists",
        "let exists",
    ),
    mutant(
        "2.1.3: a ring is made once",
        "socket/setsockopt.rs",
        "if exists || !entries.is_power_of_two() {",
        "if !entries.is_power_of_two() {",
    ),
    mutant(
        "2.2.1: the registration is 32 bytes long, or 24 of old",
        "socket/setsockopt.rs",
        "if value.len() >= full { full } else { OLD }",
        "if value.len() > full { full } else { OLD }",
    ),
    mutant(
        "2.2.4: chunks of 2048 bytes are large enough",
        "umem.rs",
        "u64::from(chunk_size) < 2048",
        "u64::from(chunk_size) <= 2048",
    ),
    mutant(
        "2.2.10: a remainder is fine where chunks are unaligned",
        "umem.rs",
        "if !unaligned && !len.is_multiple_of(",
        "if !len.is_multiple_of(",
    ),
    mutant(
        "2.2.11: the largest headroom is allowed",
        "umem.rs",
        "if headroom > chunk_size - profile.headroom_reserve {",
        "if headroom >= chunk_size - profile.headroom_reserve {",
    ),
    mutant(
        "2.2.12: TX metadata is shorter than 256 bytes",
        "umem.rs",
        "profile.min_tx_metadata..256;",
        "profile.min_tx_metadata..257;",
    ),
    mutant(
        "2.3.1: the budget may be the whole TX ring",
        "socket/setsockopt.rs",
        "budget > entries {",
        "budget >= entries {",
    ),
    mutant(
        "3.2: 128 bytes are enough for the new offsets",
        "socket/getsockopt.rs",
        "if out.len() >= 128 {",
        "if out.len() > 128 {",
    ),
    mutant(
        "3.3: old statistics count a full ring as dropped",
        "socket/getsockopt.rs",
        "statistics.rx_dropped += statistics.rx_ring_full;",
        "",
    ),
    mutant(
        "2.1.6: a TX ring wants to be woken from the start",
        "socket/setsockopt.rs",
        "memory.store_flags(&shape.offsets, XDP_RING_NEED_WAKEUP);",
        "",
    ),
    // mmap and bind.
    mutant(
        "4.2: a dead socket's rings are busy",
        "socket/mmap.rs",
        "State::Unbound => return errno(EBUSY)",
        "State::Unbound => return errno(EINVAL)",
    ),
    mutant(
        "4.4: a mapping may be as long as the ring's pages",
        "socket/mmap.rs",
        "len <= memory.len()",
        "len < memory.len()",
    ),
    mutant(
        "5.1.7: one of RX and TX ring is enough",
        "socket/bind.rs",
        "socket.rx.is_none() && socket.tx.is_none()",
        "socket.rx.is_none() || socket.tx.is_none()",
    ),
    mutant(
        "5.2.1: contradicting flags are refused before a busy queue",
        "socket/bind.rs",
        "if flags & XDP_COPY != 0 && flags & XDP_ZEROCOPY != 0 {",
        "if flags & XDP_COPY != 0\n            && flags & XDP_ZEROCOPY != 0\n            && !self.devices[place.device].pools.contains_key(&place.short())\n        {",
    ),
    mutant("5.2.3: a queue id has 16 bits", "socket/bind.rs", "self.queue & 0xffff", "self.queue"),
    mutant(
        "5.2.6: a failed bind leaves the multi-buffer bit",
        "profile/mod.rs",
        "failed_bind_keeps_sg: true,",
        "failed_bind_keeps_sg: false,",
    ),
    mutant(
        "5.3: who shares a UMEM has none of its own",
        "socket/bind.rs",
        "if flags != XDP_SHARED_UMEM || socket.umem.is_some() {",
        "if flags != XDP_SHARED_UMEM {",
    ),
    mutant(
        "5.3.1: on a shared queue no fill or completion ring is allowed",
        "socket/bind.rs",
        "if socket.fill.is_some() || socket.completion.is_some() {",
        "if socket.fill.is_some() && socket.completion.is_some() {",
    ),
    mutant(
        "5.1.5: a bound socket is busy, whatever the device",
        "socket/bind.rs",
        "if socket.state != State::Ready {\n            return errno(EBUSY);\n        }\n        let Some(device) = self.device_by_index(address.sxdp_ifindex) else { return errno(ENODEV) };",
        "let Some(device) = self.device_by_index(address.sxdp_ifindex) else { return errno(ENODEV) };\n        if self.sockets[id].state != State::Ready {\n            return errno(EBUSY);\n        }",
    ),
    // Receiving.
    mutant(
        "6.1.4: a packet that fills the frame fits",
        "receive/mod.rs",
        "packet.len() > self.umems[self.pools[pool].umem].frame_size() as usize",
        "packet.len() >= self.umems[self.pools[pool].umem].frame_size() as usize",
    ),
    mutant(
        "6.2.3: the buffer of a packet that the RX ring had no room for serves the next",
        "receive/mod.rs",
        "self.pools[pool_id].free.push(chunk);",
        "",
    ),
    mutant(
        "6.3.1: too few fill entries are not an empty fill ring",
        "pool.rs",
        "if available == 0 {",
        "if available < missing {",
    ),
    mutant(
        "6.3.3: all descriptors of a packet but the last say that it goes on",
        "receive/mod.rs",
        "let more = i + 1 < chunks.len();",
        "let more = i < chunks.len();",
    ),
    mutant(
        "6.4.1: an empty fill or TX ring is published before it counts as one",
        "shared/ring.rs",
        "if self.is_drained() {\n            self.publish();",
        "if self.is_drained() {",
    ),
    mutant(
        "6.4.2: the last unaligned chunk may end where the UMEM does",
        "umem.rs",
        "base + chunk_size <= self.size",
        "base + chunk_size < self.size",
    ),
    mutant(
        "6.6.1: in SKB mode a dropped packet publishes, too",
        "receive/mod.rs",
        "        self.flush(socket);\n        result",
        "        if result.is_ok() {\n            self.flush(socket);\n        }\n        result",
    ),
    mutant(
        "6.6.2: in native mode a dropped packet publishes nothing",
        "device/deliver.rs",
        "Ok(()) if !delivered.contains(&socket) => delivered.push(socket),\n            Ok(()) => {}",
        "_ if !delivered.contains(&socket) => delivered.push(socket),\n            Ok(()) => {}",
    ),
    mutant(
        "6.1.2: a packet for another queue's socket is not counted",
        "receive/mod.rs",
        "if (socket.device, socket.queue) != (Some(device), queue) {\n",
        "if (socket.device, socket.queue) != (Some(device), queue) {\n            socket.rx_dropped += 1;\n",
    ),
    mutant(
        "6.3.2: a packet that the RX ring has too little room for takes no buffers",
        "receive/mod.rs",
        "if rx.ring.free(frames) < frames {",
        "if rx.ring.free(1) < 1 {",
    ),
    mutant(
        "6.5.1: an unaligned address has its offset in the upper bits",
        "umem.rs",
        "chunk | offset << 48",
        "chunk + offset",
    ),
    // Sending.
    mutant(
        "7.2.2: room for metadata is demanded of every descriptor",
        "transmit/descriptor.rs",
        "let len = u64::from(desc.len) + self.metadata;",
        "let len = u64::from(desc.len);",
    ),
    mutant(
        "7.3 a: a pass takes 32 descriptors",
        "transmit/mod.rs",
        "let mut budget = self.sockets[id].tx_budget;",
        "let mut budget = self.sockets[id].tx_budget + 1;",
    ),
    mutant(
        "7.3 b: a full completion ring is an error",
        "profile/mod.rs",
        "full_completion_is_error: true,",
        "full_completion_is_error: false,",
    ),
    mutant(
        "7.3 c: what is left of a refused packet is drained to its end",
        "transmit/mod.rs",
        "socket.draining = continues;",
        "socket.draining = false;",
    ),
    mutant(
        "7.3 d: a packet has at most 18 descriptors",
        "transmit/build.rs",
        "const MAX_FRAGS: u32 = 17;",
        "const MAX_FRAGS: u32 = 16;",
    ),
    mutant(
        "7.3: a refused descriptor is completed",
        "transmit/mod.rs",
        "self.pools[route.pool].completion.submit([desc.addr]);\n        let socket = &mut self.sockets[id];\n        socket.draining = desc.options",
        "let socket = &mut self.sockets[id];\n        socket.draining = desc.options",
    ),
    mutant(
        "7.3: a refused descriptor that cannot be completed is not counted yet",
        "transmit/mod.rs",
        "tx.invalid -= 1;",
        "",
    ),
    mutant(
        "7.3: a packet that is given up while the completion ring is full is drained",
        "transmit/mod.rs",
        "socket.draining |= socket.partial.is_some() || ",
        "socket.draining |= ",
    ),
    mutant(
        "7.5.3: a veth takes 4 bytes more than the peer's MTU, for a VLAN tag",
        "device/mod.rs",
        "self.mtu as usize + 14 + 4",
        "self.mtu as usize + 14",
    ),
    mutant(
        "7.6.2: refused metadata posts a completion that nobody has asked for",
        "profile/mod.rs",
        "bad_metadata_completes: true,",
        "bad_metadata_completes: false,",
    ),
    mutant(
        "7.6.2: the checksum is within the first descriptor",
        "transmit/metadata.rs",
        "if to + 2 > data.len() {",
        "if to + 1 > data.len() {",
    ),
    mutant(
        "7.7.2: bit 0 of the first completed address is lost",
        "profile/mod.rs",
        "completion_clears_bit_0: true,",
        "completion_clears_bit_0: false,",
    ),
    mutant(
        "7.1: a device that is down comes before a missing TX ring",
        "socket/wakeup.rs",
        "// 5.10 looks at these two the other way round.\n",
        "if self.sockets[id].tx.is_none() {\n            return errno(ENOBUFS);\n        }\n",
    ),
    mutant(
        "7.6.3: the checksum covers what is behind its start",
        "transmit/metadata.rs",
        "internet_checksum(&data[from..])",
        "internet_checksum(&data[to..])",
    ),
    // Waiting, teardown, maps, rings.
    mutant(
        "8.1: poll reports nothing while the device is down",
        "profile/mod.rs",
        "poll_sees_device_down: true,",
        "poll_sees_device_down: false,",
    ),
    mutant(
        "8.2: a TX ring is writable when half of it is free",
        "shared/ring.rs",
        "producer.wrapping_sub(consumer) <= self.entries / 2",
        "producer.wrapping_sub(consumer) < self.entries / 2",
    ),
    mutant(
        "8.6: recvfrom wants an RX ring",
        "socket/wakeup.rs",
        "if self.sockets[id].rx.is_none() {\n            return errno(ENOBUFS);\n        }\n",
        "",
    ),
    mutant(
        "9.1: deleting from an XSKMAP minds its size",
        "xdp/map.rs",
        "if key >= map.entries {",
        "if key > map.entries {",
    ),
    mutant(
        "9.3: a closed socket is out of its XSKMAPs at once",
        "socket/release.rs",
        "map.remove_socket(id);",
        "let _ = map;",
    ),
    mutant(
        "9.6: a device that is moved to another namespace arrives down",
        "device/manage.rs",
        "self.set_up(id, false);\n        self.take_leave(id);",
        "self.take_leave(id);",
    ),
    mutant("9.6: a socket whose device goes is told so", "socket/release.rs", "socket.error = ENETDOWN;", ""),
    mutant(
        "10.4: a consumer that is behind by more than the ring makes it look free",
        "shared/ring.rs",
        "self.entries.wrapping_sub(self.reserved.wrapping_sub(self.released)).min(want)",
        "self.entries.saturating_sub(self.reserved.wrapping_sub(self.released)).min(want)",
    ),
    mutant(
        "14.3.2: a native program without fragments allows an MTU of 3506",
        "xdp/attach.rs",
        "VETH_MTU_MAX: u32 = 3506;",
        "VETH_MTU_MAX: u32 = 3505;",
    ),
    mutant(
        "14.3.5: in SKB mode queue 1 is received on queue 0",
        "device/deliver.rs",
        "skb.queue.saturating_sub(1)",
        "skb.queue",
    ),
];
