use xsk::backend::{Backend, RedirectProgram, XdpMode};
use xsk::config::XdpFlags;
use xsk_core::errno::{EBADF, EBUSY, EEXIST, EINVAL, ENOENT, ENOLINK, ENOSPC, EOPNOTSUPP, ERANGE};
use xsk_sim::{DeviceConfig, SimKernel, XdpAction};

use crate::kit::{End, SimWorld, World, errno, frame};

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;
const HW: XdpFlags = XdpFlags::XDP_FLAGS_HW_MODE;

#[test]
fn s14_2_attaching() {
    let world = SimWorld::skb();
    let kernel = &world.kernel;
    let program = kernel.program("pass", true, |_| XdpAction::Pass);
    let (a, lo) = (world.index(End::A), kernel.loopback("lo").unwrap());
    let attach = |index, flags| errno(kernel.link_create(program, index, flags));
    assert_eq!(attach(a, SKB | DRV), EINVAL);
    assert_eq!(attach(a, XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST), EINVAL);
    assert_eq!(attach(999, SKB), EINVAL);
    assert_eq!(attach(a, HW), EINVAL);
    assert_eq!(attach(lo.index(), DRV), EOPNOTSUPP);
    assert_eq!(attach(lo.index(), XdpFlags::empty()), 0);
    assert_eq!(lo.info().program.unwrap().mode, XdpMode::Skb);
    let link = kernel.link_create(program, a, XdpFlags::empty()).unwrap();
    assert_eq!(world.a.info().program.unwrap().mode, XdpMode::Native);
    assert_eq!((attach(a, DRV), attach(a, SKB)), (EBUSY, EEXIST));
    kernel.close(link);
    assert_eq!(world.a.info().program, None);
    assert_eq!(errno(kernel.link_create(link, a, SKB)), EBADF);
}

#[test]
fn s14_2_3_links() {
    let world = SimWorld::skb();
    let kernel = &world.kernel;
    let drop = kernel.program("drops", true, |_| XdpAction::Drop);
    let pass = kernel.program("passes", true, |_| XdpAction::Pass);
    let link = kernel.link_create(drop, world.index(End::B), SKB).unwrap();
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::B), None);
    kernel.link_update(link, pass).unwrap();
    kernel.close(pass);
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::B), Some(frame(60, 1)));
    let id = world.b.info().program.unwrap().id;
    assert_eq!(kernel.program_name(id).unwrap(), "passes");
    world.remove();
    assert_eq!(errno(kernel.program_name(id)), ENOENT);
    assert_eq!(errno(kernel.link_update(link, drop)), ENOLINK);
}

#[test]
fn s14_program_of_a_map_that_is_none() {
    let world = SimWorld::skb();
    let program = world.kernel.program("p", true, |_| XdpAction::Pass);
    let load = |map| errno(world.kernel.program_load(&RedirectProgram { map, frags: true }));
    assert_eq!((load(program), load(xsk::backend::Handle(-1))), (EINVAL, EBADF));
}

#[test]
fn s14_3_2_native_programs_on_veth() {
    let kernel = SimKernel::new(1);
    let config = DeviceConfig::default();
    let (a, b) = kernel.veth_of("a", &config.clone().tx_queues(2), "b", &config).unwrap();
    let plain = kernel.program("plain", false, |_| XdpAction::Pass);
    let frags = kernel.program("frags", true, |_| XdpAction::Pass);
    let attach = |program| {
        let link = kernel.link_create(program, b.index(), DRV);
        let result = link.as_ref().map(|_| ()).map_err(|error| error.raw_os_error().unwrap());
        link.map(|link| kernel.close(link)).ok();
        result.err().unwrap_or(0)
    };
    a.set_mtu(3507).unwrap();
    assert_eq!((attach(plain), attach(frags)), (ERANGE, ENOSPC));
    a.set_queues(1, 1).unwrap();
    assert_eq!(attach(frags), 0);
    a.set_mtu(3506).unwrap();
    assert_eq!(attach(plain), 0);
    let link = kernel.link_create(plain, b.index(), DRV).unwrap();
    assert_eq!((errno(a.set_mtu(3507)), errno(b.set_mtu(9000))), (EINVAL, 0));
    assert_eq!(errno(a.set_queues(1, 2)), EINVAL, "more than the program's end can take");
    kernel.close(link);
    a.set_mtu(3507).unwrap();
    a.move_away();
    assert_eq!(errno(kernel.link_create(frags, a.index(), DRV)), EINVAL);
    a.remove();
    assert_eq!(errno(kernel.link_create(frags, b.index(), DRV)), EINVAL);
}
