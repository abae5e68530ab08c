use std::time::Duration;

use xsk::backend::Backend;
use xsk_core::abi::xdp_desc;
use xsk_core::errno::EBUSY;
use xsk_sim::Place;
use xsk_tests::raw::frame;

use crate::kit::{FORCED, World, bound_with};

fn desc(addr: u64) -> xdp_desc {
    xdp_desc { addr, len: 60, options: 0 }
}

#[test]
fn frames_of_the_device_stay_there_until_the_queue_is_released() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(FORCED), &[0, 4096, 8192]);
    socket.write(3 * 4096, &frame(60, 1));
    socket.tx().push([desc(3 * 4096)]);
    assert_eq!(socket.kick(), 0);
    drop(socket);
    // The memory is unmapped, and the device still writes there, and sends from there.
    assert_eq!(world.kernel.frames().count(Place::Kernel), 4);
    assert_eq!(world.try_bind(&bound_with(FORCED)), Err(EBUSY));
    world.inject(&frame(60, 2));
    assert_eq!(world.card.receive(), Some(frame(60, 2)), "its slot is empty: on to the stack");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.card.sent(), Some(frame(60, 1)));
    world.rest();
    assert_eq!(world.kernel.frames().to_string(), "", "no UMEM is left");
    assert_eq!(world.try_bind(&bound_with(FORCED)), Ok(true));
}

#[test]
fn a_device_that_goes_down_completes_what_it_had() {
    let world = World::new();
    let socket = world.open_receiver(&bound_with(FORCED), &[0, 4096]);
    socket.tx().push([desc(3 * 4096), desc(4 * 4096)]);
    assert_eq!(socket.kick(), 0);
    world.card.set_up(false);
    assert_eq!(socket.completion().pop_all::<u64>(), [3 * 4096, 4 * 4096]);
    assert_eq!(world.kernel.frames().count(Place::Pool), 2);
    world.rest();
    assert_eq!(world.card.sent(), None);
    // Up again it starts with the buffers that it had.
    world.card.set_up(true);
    assert_eq!(world.kernel.frames().count(Place::Kernel), 2);
    world.inject(&frame(60, 1));
    assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 1);
    world.check();
}

#[test]
fn a_device_that_is_removed_lets_go_of_all_frames() {
    for step in 0..6 {
        let world = World::new();
        let socket = world.open_receiver(&bound_with(FORCED), &[0, 4096, 8192]);
        if step >= 1 {
            world.inject(&frame(60, 1));
        }
        if step >= 2 {
            socket.tx().push([desc(3 * 4096), desc(4 * 4096)]);
        }
        if step >= 3 {
            assert_eq!(socket.kick(), 0);
        }
        if step >= 4 {
            world.kernel.step();
        }
        if step >= 5 {
            world.rest();
        }
        world.card.remove();
        world.check();
        let frames = world.kernel.frames();
        assert_eq!(frames.count(Place::Kernel), 0, "step {step}\n{frames}");
        let completed = socket.completion().pop_all::<u64>().len();
        assert_eq!(completed, if step >= 3 { 2 } else { 0 }, "step {step}");
        world.rest();
        drop(socket);
        world.rest();
        world.kernel.check().unwrap();
    }
}

#[test]
fn without_its_program_the_driver_gives_the_buffers_back() {
    let world = World::new();
    let socket = world.open(&bound_with(FORCED));
    socket.fill().push([0_u64, 4096]);
    let link = world.attach(&socket);
    assert_eq!(world.kernel.frames().count(Place::Kernel), 2);
    world.kernel.close(link);
    assert_eq!(world.kernel.frames().count(Place::Pool), 2);
    world.inject(&frame(60, 1));
    assert_eq!(world.card.receive(), Some(frame(60, 1)));
    world.attach(&socket);
    world.inject(&frame(60, 2));
    assert_eq!(socket.rx().pop_all::<xdp_desc>().len(), 1);
    world.check();
}
