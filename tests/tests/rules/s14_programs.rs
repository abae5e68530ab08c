use std::time::Duration;

use xsk::backend::{Backend, Handle, InterfaceInfo, RedirectProgram, XdpMode};
use xsk::config::XdpFlags;
use xsk_core::errno::{EBADF, EBUSY, EEXIST, EINVAL, ENOENT, ENOLINK, ENOSPC, EOPNOTSUPP, ERANGE};
use xsk_tests::raw::{errno, frame};
use xsk_tests::world::{End, Program, World, XDP_DROP, XDP_PASS};

rules! {
    s14_2_1_modes;
    s14_2_2_errors;
    s14_2_3_links;
    s14_2_programs_of_maps_that_are_none;
    s14_3_2_native_programs_on_veth.queues_of_a(2, 2);
}

const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;
const HW: XdpFlags = XdpFlags::XDP_FLAGS_HW_MODE;
const NOTHING: Handle = Handle(-1);

fn info(world: &dyn World, end: End) -> InterfaceInfo {
    world.kernel().interface(&world.name(end)).unwrap()
}

/// The errno of attaching; what was attached is detached again.
fn attach(kernel: &dyn Backend, program: Handle, index: u32, flags: XdpFlags) -> i32 {
    let link = kernel.link_create(program, index, flags);
    link.as_ref().inspect(|link| kernel.close(**link)).ok();
    errno(link)
}

fn s14_2_1_modes(world: &dyn World) {
    let kernel = world.kernel();
    let program = world.program(Program::Verdict(XDP_PASS), NOTHING);
    let (a, lo) = (world.index(End::A), world.loopback());
    assert_eq!(attach(&*kernel, program, a, SKB | DRV), EINVAL);
    assert_eq!(attach(&*kernel, program, a, XdpFlags::XDP_FLAGS_UPDATE_IF_NOEXIST), EINVAL);
    // None: what the driver can.
    let link = kernel.link_create(program, lo, XdpFlags::empty()).unwrap();
    assert_eq!(kernel.interface(c"lo").unwrap().program.unwrap().mode, XdpMode::Skb);
    kernel.close(link);
    let link = kernel.link_create(program, a, XdpFlags::empty()).unwrap();
    assert_eq!(info(world, End::A).program.unwrap().mode, XdpMode::Native);
    kernel.close(link);
    kernel.close(program);
}

fn s14_2_2_errors(world: &dyn World) {
    let kernel = world.kernel();
    let program = world.program(Program::Verdict(XDP_PASS), NOTHING);
    let (a, lo) = (world.index(End::A), world.loopback());
    assert_eq!(attach(&*kernel, program, 999, SKB), EINVAL);
    assert_eq!(attach(&*kernel, program, a, HW), EINVAL);
    assert_eq!(attach(&*kernel, program, lo, DRV), EOPNOTSUPP);
    let link = kernel.link_create(program, a, DRV).unwrap();
    assert_eq!(attach(&*kernel, program, a, DRV), EBUSY);
    assert_eq!(attach(&*kernel, program, a, SKB), EEXIST);
    kernel.close(link);
    assert_eq!(info(world, End::A).program, None);
    assert_eq!(attach(&*kernel, NOTHING, a, SKB), EBADF);
    let link = kernel.link_create(program, a, SKB).unwrap();
    assert_eq!(attach(&*kernel, program, a, DRV), EEXIST);
    // A link is no program.
    assert_eq!(attach(&*kernel, link, a, SKB), EINVAL);
    kernel.close(link);
    kernel.close(program);
}

fn s14_2_3_links(world: &dyn World) {
    let kernel = world.kernel();
    let drop = world.program(Program::Verdict(XDP_DROP), NOTHING);
    let pass = world.program(Program::Verdict(XDP_PASS), NOTHING);
    let link = kernel.link_create(drop, world.index(End::B), world.mode()).unwrap();
    let dropping = info(world, End::B).program.unwrap().id;
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::B), None);
    kernel.link_update(link, pass).unwrap();
    kernel.close(pass);
    world.send(End::A, &frame(60, 1));
    assert_eq!(world.receive(End::B), Some(frame(60, 1)));
    let id = info(world, End::B).program.unwrap().id;
    assert_ne!(id, dropping);
    assert_eq!(errno(kernel.program_name(id)), 0);
    world.remove();
    world.settle();
    assert_eq!(errno(kernel.link_update(link, drop)), ENOLINK);
    assert_eq!(errno(kernel.program_name(id)), 0, "a link without a device keeps its program");
    kernel.close(link);
    kernel.sleep(Duration::from_millis(50));
    assert_eq!(errno(kernel.program_name(id)), ENOENT);
    kernel.close(drop);
}

fn s14_2_programs_of_maps_that_are_none(world: &dyn World) {
    let kernel = world.kernel();
    let program = world.program(Program::Verdict(XDP_PASS), NOTHING);
    let load = |map| errno(kernel.program_load(&RedirectProgram { map, frags: true }));
    assert_eq!((load(program), load(NOTHING)), (EINVAL, EBADF));
    kernel.close(program);
}

fn s14_3_2_native_programs_on_veth(world: &dyn World) {
    let kernel = world.kernel();
    let plain = world.load(Program::Verdict(XDP_PASS), false, NOTHING);
    let frags = world.load(Program::Verdict(XDP_PASS), true, NOTHING);
    let b = world.index(End::B);
    assert_eq!(world.set_mtu(End::A, 3507), 0);
    assert_eq!(attach(&*kernel, plain, b, DRV), ERANGE);
    assert_eq!(attach(&*kernel, frags, b, DRV), ENOSPC, "fewer receive queues than A has to send from");
    assert_eq!(world.set_queues(End::A, 1, 1), 0);
    assert_eq!(attach(&*kernel, frags, b, DRV), 0);
    assert_eq!(world.set_mtu(End::A, 3506), 0);
    assert_eq!(attach(&*kernel, plain, b, DRV), 0);
    let link = kernel.link_create(plain, b, DRV).unwrap();
    assert_eq!((world.set_mtu(End::A, 3507), world.set_mtu(End::B, 9000)), (EINVAL, 0));
    assert_eq!(world.set_queues(End::A, 1, 2), EINVAL, "more than the program's end can take");
    kernel.close(link);
    assert_eq!(world.set_mtu(End::A, 3507), 0);
    world.move_away(End::A);
    assert_eq!(attach(&*kernel, frags, world.index(End::A), DRV), EINVAL);
    kernel.close(plain);
    kernel.close(frags);
}
