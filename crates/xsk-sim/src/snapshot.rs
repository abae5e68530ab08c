//! The state of a kernel as text, in the manner of `ss` and `ip`.

use std::fmt::Write;

use xsk_core::order::Order;
use xsk_core::ring::Storage;

use crate::kernel::{Kernel, Object};
use crate::shared::ring::{KernelConsumer, KernelProducer};
use crate::socket::Socket;

/// A ring the kernel consumes: its shared indices, and the private one if that is ahead.
fn consumer<S: Storage>(name: &str, ring: &KernelConsumer<S>) -> String {
    let producer = ring.storage().load_producer(Order::ReadProducer);
    let shared = ring.storage().load_consumer(Order::ReadConsumer);
    let private = if ring.taken() == shared {
        String::new()
    } else {
        format!("(+{})", ring.taken().wrapping_sub(shared))
    };
    format!(" {name} {} P{producer} C{shared}{private}", ring.entries())
}

/// A ring that the kernel produces.
fn producer<S: Storage>(name: &str, ring: &KernelProducer<S>) -> String {
    let consumer = ring.storage().load_consumer(Order::ReadConsumer);
    let ahead = ring.unpublished();
    let private = if ahead == 0 { String::new() } else { format!("(+{ahead})") };
    format!(" {name} {} P{}{private} C{consumer}", ring.entries(), ring.published())
}

impl Kernel {
    pub(crate) fn snapshot(&self) -> String {
        let mut text =
            format!("{} at {:?}, {} planned\n", self.profile.name, self.clock.now(), self.clock.pending());
        // Writing to a String cannot fail.
        let _ = self.write_devices(&mut text);
        let _ = self.write_umems(&mut text);
        let _ = self.write_sockets(&mut text);
        if let Some(crash) = &self.crash {
            let _ = writeln!(text, "{crash}");
        }
        text
    }

    fn write_devices(&self, text: &mut String) -> std::fmt::Result {
        for (id, device) in self.devices.iter() {
            let state = match (device.gone, device.up) {
                (true, _) => "gone",
                (false, true) => "up",
                (false, false) => "down",
            };
            write!(text, "{}: {} {state} mtu {}", device.index, device.name, device.mtu)?;
            write!(text, " queues {}/{}", device.rx_queues, device.tx_queues)?;
            if let Some((program, mode)) = self.program_of(id) {
                write!(
                    text,
                    " xdp {mode:?} {} ({})",
                    Self::program_id(program),
                    self.programs[program].name
                )?;
            }
            let waiting: usize = device.rings.iter().map(std::collections::VecDeque::len).sum();
            writeln!(
                text,
                " dropped {}/{} waiting {waiting} stack {} wire {}",
                device.rx_dropped,
                device.tx_dropped,
                device.stack.len(),
                device.wire.len()
            )?;
        }
        Ok(())
    }

    fn write_umems(&self, text: &mut String) -> std::fmt::Result {
        for (id, umem) in self.umems.iter() {
            write!(text, "umem {}: {} bytes, chunks of {}", id.number(), umem.size, umem.chunk_size)?;
            writeln!(text, ", headroom {}, users {}", umem.headroom, umem.users)?;
            for (_, pool) in self.pools.iter().filter(|(_, pool)| pool.umem == id) {
                write!(text, "  {} queue {}:", self.devices[pool.device].name, pool.queue)?;
                text.push_str(&consumer("fill", &pool.fill.ring));
                text.push_str(&producer("completion", &pool.completion.ring));
                writeln!(text, " kept {} empty {}", pool.free.len(), pool.fill.empty)?;
                if let Some([posted, arrived, sending]) = pool.driver.as_ref().map(|it| it.counts()) {
                    writeln!(text, "    zero copy: posted {posted} arrived {arrived} sending {sending}")?;
                }
            }
        }
        Ok(())
    }

    fn write_sockets(&self, text: &mut String) -> std::fmt::Result {
        for (id, socket) in self.sockets.iter() {
            let handle = self.handles.iter().find(|(_, object)| *object == Object::Socket(id));
            let name = handle.map_or_else(|| format!("#{}", id.number()), |(handle, _)| handle.0.to_string());
            write!(text, "socket {name}: {:?}", socket.state)?;
            if let (Some(device), Some(umem)) = (socket.device, socket.umem) {
                let device = &self.devices[device].name;
                write!(text, " {device} queue {} umem {}", socket.queue, umem.number())?;
            }
            write_rings(text, socket);
            let statistics = self.statistics(id);
            write!(text, " rx_dropped {}", statistics.rx_dropped)?;
            write!(text, " rx_full {} tx_invalid {}", statistics.rx_ring_full, statistics.tx_invalid_descs)?;
            write!(text, " fill_empty {}", statistics.rx_fill_ring_empty_descs)?;
            writeln!(text, " tx_empty {} in flight {}", statistics.tx_ring_empty_descs, socket.in_flight)?;
        }
        for (id, map) in self.maps.iter() {
            for (key, socket) in map.slots() {
                writeln!(text, "map {} slot {key}: socket #{}", id.number(), socket.number())?;
            }
        }
        Ok(())
    }
}

fn write_rings(text: &mut String, socket: &Socket) {
    if let Some(rx) = &socket.rx {
        text.push_str(&producer("rx", &rx.ring));
    }
    if let Some(tx) = &socket.tx {
        text.push_str(&consumer("tx", &tx.ring));
    }
}
