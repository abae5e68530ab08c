//! What the ring tier asks the kernel for, in which order, and what it tries again.

mod toy;

use std::any::Any;
use std::time::Duration;

use toy::Toy;
use toy::setup::{SIZE, config, open, port, size, umem};
use xsk::Socket;
use xsk::backend::Backend;
use xsk::config::{BindFlags, Interface, LibxdpFlags, SocketConfig, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk_core::errno::*;

fn calls(toy: &Toy) -> String {
    // Whether a socket is still alive may be asked at any time.
    toy.script
        .take_log()
        .into_iter()
        .filter(|call| !call.starts_with("recvfrom"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn lines(text: &[&str]) -> String {
    text.join("\n")
}

const REGISTER: &[&str] = &["mmap 65536 normal", "socket", "setsockopt 1 UMEM 0"];

#[test]
fn the_order_of_the_calls() {
    let toy = Toy::new(false);
    let (umem, _) = umem(&toy);
    assert_eq!(calls(&toy), lines(REGISTER));

    // The first socket binds with the registration; its rings are mapped before.
    let sg = BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP;
    let builder = *SocketConfig::builder().rx_queue_size(size(4)).tx_queue_size(size(2)).bind_flags(sg);
    let modes = XdpFlags::XDP_FLAGS_SKB_MODE | XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST;
    let first = open({ builder }.xdp_flags(modes).build(), &umem, "toy1", 2).unwrap();
    assert_eq!(
        calls(&toy),
        lines(&[
            "setsockopt 1 fill 8",
            "setsockopt 1 completion 8",
            "setsockopt 1 RX 4",
            "setsockopt 1 TX 2",
            "getsockopt 1 offsets",
            "mmap 1 fill",
            "mmap 1 completion",
            "mmap 1 RX",
            "mmap 1 TX",
            "bind 1 2:2 flags 10",
            "xskmap_create 8",
            "program_load 2 frags false",
            // A link knows no XDP_FLAGS_UPDATE_IF_NOEXIST.
            "link_create 3 2 2",
            "close 3",
            "xskmap_update 2 2 1",
        ])
    );

    // The second one of the queue shares everything, and its own flags are dropped.
    let second = open({ builder }.build(), &umem, "toy1", 2).unwrap();
    assert!(second.rings.is_none());
    assert_eq!(
        calls(&toy),
        lines(&[
            "socket",
            "setsockopt 5 RX 4",
            "setsockopt 5 TX 2",
            "getsockopt 5 offsets",
            "mmap 5 RX",
            "mmap 5 TX",
            "bind 5 2:2 flags 1 of 1",
            "xskmap_update 2 2 5",
        ])
    );

    // Another queue of the device, and another device: rings of their own, and the memory of any socket.
    let third = open({ builder }.build(), &umem, "toy1", 0).unwrap();
    let pool = ["socket", "setsockopt 6 fill 8", "setsockopt 6 completion 8", "setsockopt 6 RX 4"];
    let bind = ["mmap 6 RX", "mmap 6 TX", "bind 6 2:0 flags 1 of 1", "xskmap_update 2 0 6"];
    let all = calls(&toy);
    assert!(all.starts_with(&lines(&pool)) && all.ends_with(&lines(&bind)), "{all}");
    let inhibit = LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD;
    let fourth = open({ builder }.libxdp_flags(inhibit).build(), &umem, "toy2", 2).unwrap();
    let all = calls(&toy);
    assert!(all.ends_with("mmap 7 TX\nbind 7 3:2 flags 1 of 1"), "no program is attached:\n{all}");

    // The last one of a queue receives; when it goes, the one before does.
    drop(second);
    let gone = ["xskmap_update 2 2 1", "close 5", "munmap RX", "munmap TX"];
    assert_eq!(calls(&toy), lines(&gone));
    // Now a socket of that queue is to be named for sharing; for another queue, any.
    drop(first);
    let gone = ["xskmap_delete 2 2", "close 1", "munmap RX", "munmap TX", "munmap fill", "munmap completion"];
    assert_eq!(calls(&toy), lines(&gone));
    let fifth = open({ builder }.build(), &umem, "toy1", 2).unwrap();
    let all = calls(&toy);
    assert!(all.contains("bind 8 2:2 flags 1 of 6\n") && fifth.rings.is_some(), "{all}");

    drop((third, fourth));
    calls(&toy);
    // Out of the map, the socket, its mappings, the program with the last socket, the memory with the UMEM.
    drop(umem);
    assert_eq!(calls(&toy), "");
    drop(fifth);
    assert_eq!(
        calls(&toy),
        lines(&[
            "xskmap_delete 2 2",
            "close 8",
            "munmap RX",
            "munmap TX",
            "munmap fill",
            "munmap completion",
            "close 2",
            "close 4",
            "munmap memory",
        ])
    );
    assert_eq!(toy.holds(), (0, 0));
}

/// Whichever queue lives longest keeps the socket.
#[test]
fn the_socket_goes_with_its_last_queue() {
    for last in 0..4 {
        let toy = Toy::new(false);
        let (umem, _) = umem(&toy);
        let port = port(&umem, "toy0", 0);
        let (fill, comp) = port.rings.unwrap();
        let mut queues: [Option<Box<dyn Any>>; 4] =
            [Some(Box::new(port.tx)), Some(Box::new(port.rx)), Some(Box::new(fill)), Some(Box::new(comp))];
        drop(umem);
        calls(&toy);
        queues.iter_mut().enumerate().filter(|(i, _)| *i != last).for_each(|(_, queue)| drop(queue.take()));
        assert_eq!(calls(&toy), "");
        drop(queues);
        assert!(calls(&toy).starts_with("xskmap_delete 2 0\nclose 1\nmunmap RX"));
        assert_eq!(toy.holds(), (0, 0));
    }
}

#[test]
fn rx_only_and_tx_only_sockets() {
    let toy = Toy::new(false);
    let (umem, _) = umem(&toy);
    let interface: Interface = "toy0".parse().unwrap();
    // SAFETY: no frames are used.
    let (tx, pool) = unsafe { Socket::tx_only(config(), &umem, &interface, 1) }.unwrap();
    assert!(pool.is_some());
    let all = calls(&toy);
    assert!(!all.contains("RX") && all.contains("mmap 1 TX\nbind 1 1:1"), "{all}");
    // One without an RX ring in the map crashes kernels.
    assert!(all.contains("link_create") && !all.contains("xskmap_update"), "{all}");
    // SAFETY: as above.
    let (rx, none) = unsafe { Socket::rx_only(config(), &umem, &interface, 1) }.unwrap();
    assert!(none.is_none());
    let all = calls(&toy);
    assert!(
        !all.contains("TX") && all.contains("mmap 5 RX\nbind 5 1:1 flags 1 of 1\nxskmap_update 2 1 5"),
        "{all}"
    );
    drop((tx, pool, rx, umem));
    assert!(
        calls(&toy)
            .contains("close 1\nmunmap TX\nmunmap fill\nmunmap completion\nxskmap_delete 2 1\nclose 5")
    );
    assert_eq!(toy.holds(), (0, 0));
}

/// The queue's first socket is gone, and with it whoever had the pool's rings; a later one gets them.
#[test]
fn orphaned_rings_are_adopted() {
    let toy = Toy::new(false);
    let (umem, descs) = umem(&toy);
    let mut first = port(&umem, "toy0", 0);
    let second = port(&umem, "toy0", 0);
    // SAFETY: no kernel is behind these frames.
    assert_eq!(unsafe { first.rings.as_mut().unwrap().0.produce(&descs[..3]) }, 3);
    drop(first);
    calls(&toy);
    let mut third = port(&umem, "toy0", 0);
    let all = calls(&toy);
    let tail = "mmap 6 TX\nbind 6 1:0 flags 1 of 5\nmmap 6 fill\nmmap 6 completion\nxskmap_update 2 0 6";
    assert!(all.ends_with(tail), "{all}");
    let (fill, _) = third.rings.as_mut().unwrap();
    assert_eq!(fill.nb_free_exact(), SIZE - 3, "it goes on where the first one stopped");
    assert!(port(&umem, "toy0", 0).rings.is_none());
    drop((second, third, umem));
    assert_eq!(toy.holds(), (0, 0));
}

#[test]
fn a_busy_queue_is_waited_for() {
    let toy = Toy::new(false);
    let (umem, _) = umem(&toy);
    toy.script.fault("bind", EBUSY, 6);
    let port = port(&umem, "toy0", 0);
    let sleeps: Vec<_> = toy.script.take_log().into_iter().filter(|call| call.starts_with("sleep")).collect();
    assert_eq!(sleeps, ["sleep 1ms", "sleep 2ms", "sleep 4ms", "sleep 8ms", "sleep 10ms", "sleep 10ms"]);

    // Another UMEM cannot have it.
    let (other, _) = toy::setup::umem(&toy);
    let before = toy.now();
    let error = open(config(), &other, "toy0", 0).unwrap_err();
    assert_eq!(toy.now() - before, Duration::from_secs(1));
    assert_eq!((error.step(), error.errno()), (Step::Bind, Some(EBUSY)));
    assert_eq!(error.diagnosis(), &Diagnosis::QueueBusy { waited_ms: 1000 });
    let timeout = Duration::from_micros(2500);
    let quick = SocketConfig::builder().busy_timeout(timeout).build();
    let before = toy.now();
    let error = open(quick, &other, "toy0", 0).unwrap_err();
    assert_eq!((toy.now() - before, error.diagnosis()), (timeout, &Diagnosis::QueueBusy { waited_ms: 2 }));
    // Nor wait at all.
    let quick = SocketConfig::builder().busy_timeout(Duration::ZERO).build();
    calls(&toy);
    open(quick, &other, "toy0", 0).unwrap_err();
    let all = calls(&toy);
    assert!(all.contains("bind") && !all.contains("sleep"), "{all}");
    drop(port);
    open(quick, &other, "toy0", 0).expect("the queue is free");
    drop((umem, other));
    assert_eq!(toy.holds(), (0, 0));
}

/// The kernel counts the pages of closed sockets for a while.
#[test]
fn locked_memory_is_waited_for() {
    let toy = Toy::new(false);
    toy.script.fault("setsockopt 1 UMEM", ENOBUFS, 3);
    let (umem, _) = umem(&toy);
    let tail = ["sleep 4ms", "setsockopt 1 UMEM 0"];
    assert!(calls(&toy).ends_with(&lines(&tail)));
    // After all sockets of a UMEM are closed, the next one registers it again.
    drop(port(&umem, "toy0", 0));
    toy.script.fault("setsockopt 5 UMEM", ENOBUFS, u32::MAX);
    let before = toy.now();
    let quick = SocketConfig::builder().busy_timeout(Duration::from_millis(30)).build();
    let error = open(quick, &umem, "toy0", 0).unwrap_err();
    assert_eq!((toy.now() - before, error.step()), (Duration::from_millis(30), Step::RegisterUmem));
    drop(port(&umem, "toy0", 0));
    drop(umem);
    assert_eq!(toy.holds(), (0, 0));
}

/// A socket whose device is gone cannot be shared with (EBADF): the next one is tried, then the memory registered again.
#[test]
fn dead_sockets_are_not_shared_with() {
    let toy = Toy::new(false);
    let (umem, _) = umem(&toy);
    let first = port(&umem, "toy0", 0);
    let second = port(&umem, "toy1", 0);
    toy.unbind(1);
    calls(&toy);
    let third = port(&umem, "toy2", 0);
    let binds = |toy: &Toy| -> Vec<String> {
        toy.script
            .take_log()
            .into_iter()
            .filter(|c| c.starts_with("bind") || c.starts_with("close"))
            .collect()
    };
    assert_eq!(
        binds(&toy),
        ["bind 9 3:0 flags 1 of 1", "close 9", "bind 10 3:0 flags 1 of 5", "close 12"],
        "the socket of the first try is closed; 12 is the program"
    );
    toy.unbind(5);
    toy.unbind(10);
    let fourth = port(&umem, "toy2", 1);
    let log = binds(&toy);
    assert_eq!(log[log.len() - 1], "bind 16 3:1 flags 0", "{log:?}");
    assert_eq!(
        log.iter().filter(|call| call.starts_with("bind")).count(),
        3,
        "1 is not tried again: {log:?}"
    );
    drop((first, second, third, fourth, umem));
    assert_eq!(toy.holds(), (0, 0));
}

/// Two processes' worth of UMEMs on one interface share the program, and the last one takes it away.
#[test]
fn one_program_for_each_interface() {
    let toy = Toy::new(false);
    let ((a, _), (b, _)) = (umem(&toy), umem(&toy));
    calls(&toy);
    let first = port(&a, "toy0", 0);
    let second = port(&b, "toy0", 1);
    let all = calls(&toy);
    assert_eq!((all.matches("link_create").count(), all.matches("xskmap_create").count()), (1, 1), "{all}");
    drop(first);
    assert!(!calls(&toy).contains("close 5"));
    drop(second);
    let all = calls(&toy);
    assert!(all.ends_with("munmap completion\nclose 3\nclose 5"), "{all}");
    drop((a, b));
    assert_eq!(toy.holds(), (0, 0));
}
