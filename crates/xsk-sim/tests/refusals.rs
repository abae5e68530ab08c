//! What only a simulated kernel can say, and devices that Linux has none of.

use xsk::backend::{Backend, Handle, Poll, PollEvents};
use xsk::config::XdpFlags;
use xsk_core::errno::{ENOPROTOOPT, EOPNOTSUPP};
use xsk_sim::{DeviceConfig, SimKernel, WouldBlockForever, XdpAction};

#[test]
fn what_is_not_modelled_says_so() {
    let kernel = SimKernel::new(1);
    let socket = kernel.socket().unwrap();
    let error = kernel.setsockopt(socket, 1, 9, &[1, 0, 0, 0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "the simulated kernel does not model option 9 of level SOL_SOCKET");
    let error = kernel.setsockopt(socket, 1, 9999, &[1, 0, 0, 0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(ENOPROTOOPT));
}

#[test]
fn a_poll_that_nothing_can_wake_says_so() {
    let kernel = SimKernel::new(1);
    let socket = kernel.socket().unwrap();
    let mut polls = [Poll { socket, events: PollEvents::IN, ready: PollEvents::empty() }];
    let error = kernel.poll(&mut polls, -1).unwrap_err();
    let why = error.get_ref().and_then(|inner| inner.downcast_ref::<WouldBlockForever>());
    assert_eq!(why.map(|why| why.sockets), Some(1), "{error}");
}

#[test]
fn two_ends_that_bounce_do_not_hang_a_call() {
    let kernel = SimKernel::new(1);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
    let bounce = kernel.program("bounce", true, |_| XdpAction::Tx);
    for end in [&a, &b] {
        kernel.link_create(bounce, end.index(), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    }
    a.send(&[0; 60]).unwrap();
    assert_eq!(kernel.run_until_idle(50), 50, "it goes on and on, a step at a time");
}

#[test]
fn a_card_delivers_whole_batches() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("c", &DeviceConfig::default()).unwrap();
    (0..3).for_each(|i| card.inject(0, &[i; 60]).unwrap());
    assert_eq!(std::iter::from_fn(|| card.receive()).count(), 3);
    assert!(card.inject(1, &[0; 60]).is_err());
}

#[test]
fn a_card_sends_what_is_redirected_to_it() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        let kernel = SimKernel::new(1);
        let (a, b) = kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let card = kernel.card("card", &DeviceConfig::default()).unwrap();
        let ifindex = card.index();
        let program = kernel.program("redirect", true, move |_| XdpAction::Redirect { ifindex });
        kernel.link_create(program, b.index(), mode).unwrap();
        a.send(&[7; 60]).unwrap();
        assert_eq!((card.sent(), b.receive()), (Some(vec![7; 60]), None));
    }
}

#[test]
fn maps_are_not_looked_up_from_user_space() {
    let kernel = SimKernel::new(1);
    let map = kernel.xskmap_create(4).unwrap();
    assert_eq!(kernel.xskmap_lookup(map).unwrap_err().raw_os_error(), Some(EOPNOTSUPP));
    assert!(kernel.xskmap_lookup(Handle(-1)).is_err());
}
