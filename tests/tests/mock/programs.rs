//! Who has the XDP program of an interface, and which socket is in its map.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use xsk::Port;
use xsk::backend::{Backend, Handle, XdpMode};
use xsk::config::{SocketConfig, XdpFlags};
use xsk::error::Diagnosis;
use xsk::port::Obstacle;
use xsk_core::errno::*;

use super::ledger::Ledger;
use super::ports::{config, try_pool};
use super::sockets::{open, port, try_umem};
use super::{fail, mock};

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;

fn modes(flags: XdpFlags) -> SocketConfig {
    SocketConfig::builder().xdp_flags(flags).build()
}

#[test]
fn the_sockets_of_an_interface_share_a_program_of_one_mode() {
    let ledger = Ledger::new();
    let backend = mock(&ledger, |_| {});
    let umem = try_umem(&backend).unwrap();
    for (first, other, attached, asked) in [
        (SKB, DRV, XdpMode::Skb, "XDP_FLAGS_DRV_MODE"),
        (DRV, SKB, XdpMode::Native, "XDP_FLAGS_SKB_MODE"),
        (XdpFlags::empty(), SKB, XdpMode::Native, "XDP_FLAGS_SKB_MODE"),
    ] {
        let one = open(modes(first), &umem, "sim0", 0).unwrap();
        let error = open(modes(other), &umem, "sim0", 1).unwrap_err();
        assert_eq!(error.diagnosis(), &Diagnosis::OtherMode { attached }, "{error}");
        assert!(error.to_string().contains(&format!("with {asked}: ")), "{error}");
        // Whoever asks for none takes what there is, and so does who asks for what came out.
        let two = open(modes(XdpFlags::empty()), &umem, "sim0", 2).unwrap();
        let came_out = if attached == XdpMode::Skb { SKB } else { DRV };
        let three = open(modes(came_out), &umem, "sim0", 3).unwrap();
        assert_eq!(ledger.holds().links, 1);
        drop((one, two, three));
        assert_eq!(ledger.holds().links, 0);
    }
    let refused = mock(&ledger, |mock| {
        mock.expect_link_create().returning(|_, _, _| fail(EINVAL));
    });
    let umem = try_umem(&refused).unwrap();
    let error = open(modes(XdpFlags::empty()), &umem, "sim0", 0).unwrap_err();
    assert!(error.to_string().contains("with no mode flags: "), "{error}");
}

/// Numbers of interfaces are used again. `sim2` passes for one that came with the name and the number of `sim0`, which is gone.
#[test]
fn an_interface_with_the_number_of_one_that_is_gone() {
    let ledger = Ledger::new();
    let is_gone = Arc::new(AtomicBool::new(false));
    let (old, new) = (ledger.devices[0].index(), ledger.devices[2].index());
    let number = {
        let is_gone = Arc::clone(&is_gone);
        move |index| if index == old && is_gone.load(Ordering::Relaxed) { new } else { index }
    };
    let backend = mock(&ledger, |mock| {
        let (to, number) = (Arc::clone(&ledger), number.clone());
        let interface = {
            let (ledger, is_gone) = (Arc::clone(&ledger), Arc::clone(&is_gone));
            move |name: &_| {
                if name != c"sim0" || !is_gone.load(Ordering::Relaxed) {
                    return ledger.interface(name);
                }
                let mut info = ledger.interface(c"sim2")?;
                (info.index, info.name) = (old, "sim0".to_owned());
                Ok(info)
            }
        };
        mock.expect_interface().returning(interface);
        let bind = {
            let number = number.clone();
            let to = Arc::clone(&to);
            move |socket, address: &xsk_core::abi::sockaddr_xdp| {
                let sxdp_ifindex = number(address.sxdp_ifindex);
                to.bind(socket, &xsk_core::abi::sockaddr_xdp { sxdp_ifindex, ..*address })
            }
        };
        mock.expect_bind().returning(bind);
        mock.expect_link_create()
            .returning(move |program, index, flags| to.link_create(program, number(index), flags));
    });
    let (before, after) = (try_umem(&backend).unwrap(), try_umem(&backend).unwrap());
    // Another interface's program is not touched.
    let beside = port(&after, "sim1", 0);
    let first = port(&before, "sim0", 0);
    assert_eq!(ledger.holds().links, 2);
    is_gone.store(true, Ordering::Relaxed);
    // The new interface gets a program of its own, which its sockets share.
    let second = port(&after, "sim0", 1);
    assert_eq!(ledger.holds().links, 3);
    let third = port(&after, "sim0", 2);
    let more = port(&after, "sim1", 1);
    assert_eq!(ledger.holds().links, 3);
    assert!(ledger.devices[2].info().program.is_some());
    drop(first);
    assert_eq!(ledger.holds().links, 2);
    let fourth = port(&after, "sim0", 3);
    assert_eq!(ledger.holds().links, 2);
    drop((beside, second, third, fourth, more));
    assert_eq!(ledger.holds().links, 0);
    drop((before, after, backend));
    ledger.nothing_is_left("an interface that is gone");
}

/// A program is attached and detached under a lock: a socket that is opened while the last one closes waits, and is not in the
/// way of a program that is half gone.
#[test]
fn opening_while_the_last_one_closes() {
    let ledger = Ledger::new();
    let link = Arc::new(Mutex::new(None::<Handle>));
    let (sender, result) = mpsc::channel();
    let (start, started) = mpsc::channel::<()>();
    let backend = mock(&ledger, |mock| {
        let (from, to) = (Arc::clone(&ledger), Arc::clone(&ledger));
        let made = Arc::clone(&link);
        mock.expect_link_create().returning(move |program, index, flags| {
            let handle = from.link_create(program, index, flags)?;
            made.lock().unwrap().get_or_insert(handle);
            Ok(handle)
        });
        mock.expect_close().returning(move |handle| {
            if *link.lock().unwrap() == Some(handle) {
                start.send(()).unwrap();
                // The other one could open its socket now, or be refused.
                thread::sleep(Duration::from_millis(100));
            }
            to.close(handle);
        });
    });
    let umem = try_umem(&backend).unwrap();
    let other = try_umem(&backend).unwrap();
    let last = port(&umem, "sim0", 0);
    let thread = thread::spawn(move || {
        started.recv().unwrap();
        sender.send(open(modes(XdpFlags::empty()), &other, "sim0", 1).map(drop)).unwrap();
    });
    drop(last);
    result.recv().unwrap().expect("the interface is free, or will be");
    thread.join().unwrap();
    // Of what is closed nothing stays behind that would hide the next program.
    let again = port(&umem, "sim0", 0);
    let beside = port(&umem, "sim0", 1);
    assert_eq!(ledger.holds().links, 1);
    drop((again, beside, umem, backend));
    ledger.nothing_is_left("opening while closing");
}

/// The last of a queue's sockets is in the map. When it goes, the one before gets its place back, but not if it lost its device.
#[test]
fn a_socket_without_a_device_is_not_put_back() {
    for (errno, gets) in [(ENXIO, 0), (ENETDOWN, 1), (EAGAIN, 1)] {
        let ledger = Ledger::new();
        let put = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(Mutex::new(None));
        let backend = mock(&ledger, |mock| {
            let (to, put) = (Arc::clone(&ledger), Arc::clone(&put));
            mock.expect_xskmap_update().returning(move |map, key, socket| {
                put.lock().unwrap().push((key, socket));
                to.xskmap_update(map, key, socket)
            });
            let (to, asked) = (Arc::clone(&ledger), Arc::clone(&asked));
            mock.expect_recvfrom().returning(move |socket| match *asked.lock().unwrap() {
                Some(bad) if bad == socket => fail(errno),
                _ => to.recvfrom(socket),
            });
        });
        let umem = try_umem(&backend).unwrap();
        let sockets = [port(&umem, "sim0", 1), port(&umem, "sim0", 1), port(&umem, "sim0", 1)];
        let handles = sockets.each_ref().map(|socket| socket.1.fd().handle());
        assert_eq!(*put.lock().unwrap(), handles.map(|handle| (1, handle)));
        *asked.lock().unwrap() = Some(handles[1]);
        let [first, second, third] = sockets;
        drop(third);
        assert_eq!(put.lock().unwrap()[3..], [(1, handles[gets])]);
        drop((first, second, umem, backend));
        ledger.nothing_is_left("three sockets of a queue");
    }
}

#[test]
fn another_program_is_told_from_ours() {
    let ledger = Ledger::new();
    let by = Arc::new(Mutex::new(100));
    let backend = mock(&ledger, |mock| {
        let (to, by) = (Arc::clone(&ledger), Arc::clone(&by));
        mock.expect_interface().returning(move |name| {
            let mut info = to.interface(name)?;
            info.program.iter_mut().for_each(|program| program.id += *by.lock().unwrap());
            Ok(info)
        });
    });
    let pool = try_pool(&backend).unwrap();
    let ports = Port::open_all(&pool, "sim0", config()).unwrap();
    assert_eq!(ports[0].obstacles().unwrap(), []);
    *by.lock().unwrap() = 200;
    let obstacles = ports[0].obstacles().unwrap();
    assert!(matches!(&obstacles[..], [Obstacle::OtherProgram { .. }]), "{obstacles:?}");
}

/// A socket goes into the caller's map if it is one of the system's.
#[cfg(target_os = "linux")]
#[test]
fn sockets_for_the_callers_map() {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use xsk::program::XskMap;

    let file = File::open("/dev/null").unwrap();
    let no_map = XskMap::from(OwnedFd::from(file));
    let insert = |is_os: bool| {
        let ledger = Ledger::new();
        let backend = mock(&ledger, |mock| {
            mock.expect_fd().returning(move |socket| is_os.then_some(socket.0));
        });
        let umem = try_umem(&backend).unwrap();
        let (_, rx, _) = port(&umem, "sim0", 0);
        let port = Port::open(&try_pool(&backend).unwrap(), "sim2", 0, config()).unwrap();
        let half = Port::open(&try_pool(&backend).unwrap(), "sim3", 0, config()).unwrap().split().0;
        [no_map.insert(7, &rx), no_map.insert_port(7, &port), no_map.insert_port_rx(7, &half)]
    };
    for (is_os, telling) in [(true, "slot 7"), (false, "a socket of another backend")] {
        for result in insert(is_os) {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(telling), "{error}");
        }
    }
    let error = no_map.remove(9).unwrap_err().to_string();
    assert!(error.contains("slot 9"), "{error}");
}
