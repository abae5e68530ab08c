//! A.2 on the profiles of other kernels: the columns of 6.12, and of 6.1 and 5.10. 7.3 is as 6.18.44.

use xsk_core::errno::EAGAIN;
use xsk_sim::Profile;

use xsk_tests::raw::sequence::D::{self, B, BC, C, End as Last, Frag, G};
use xsk_tests::raw::sequence::{kick, lengths, load, run};
use xsk_tests::world::SimWorld;

#[test]
fn a2_7_3_is_as_6_18() {
    let world = SimWorld::of(Profile::LINUX_7_3);
    run(&world, &[B, G, G], &[(0, 1, &[0], 1), (0, 3, &[1, 2], 1)], &[60, 60]);
    run(&world, &[C, BC, C, G, G], &[(0, 2, &[0, 1], 2), (0, 5, &[2, 3, 4], 4)], &[60]);
}

#[test]
fn a2_6_12_loses_invalid_descriptors() {
    let world = SimWorld::of(Profile::LINUX_6_12);
    run(&world, &[B, G, G], &[(0, 0, &[], 1), (0, 3, &[1, 2], 1)], &[60, 60]);
    run(&world, &[G, B, G], &[(0, 0, &[0], 1), (0, 3, &[2], 1)], &[60, 60]);
    run(&world, &[B, B, G], &[(0, 0, &[], 1), (0, 0, &[], 2), (0, 3, &[2], 2)], &[60]);
    run(&world, &[C, G], &[(0, 2, &[0, 1], 0)], &[120]);
    run(&world, &[C, B, G], &[(0, 0, &[], 2), (0, 3, &[2], 2)], &[60]);
    run(&world, &[C, BC, C, G, G], &[(0, 0, &[], 2), (0, 5, &[2, 3, 4], 2)], &[120, 60]);
    run(&world, &[BC, G, G], &[(0, 0, &[], 1), (0, 3, &[1, 2], 1)], &[60, 60]);
}

#[test]
fn a2_6_12_sends_what_is_left_of_a_packet_that_is_too_long() {
    let world = SimWorld::of(Profile::LINUX_6_12);
    let sequence = [vec![Frag; 18], vec![Last, G]].concat();
    run(&world, &sequence, &[(0, 20, &[18, 19], 18)], &[100, 60]);
}

#[test]
fn a2_6_12_budget_and_full_completion_ring() {
    let world = SimWorld::of(Profile::LINUX_6_12);
    let all: Vec<u64> = (0..40).collect();
    run(&world, &[G; 40], &[(EAGAIN, 0, &all[..32], 0), (0, 40, &all[32..], 0)], &[60; 40]);
    let socket = load(&world, &[G; 8], 4);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 0));
    drop(socket);
    world.kernel.run_until_idle(100);
    assert_eq!(lengths(&world), [60; 4]);
    let socket = load(&world, &[C, C, C, C, C, G], 4);
    assert_eq!((socket.kick(), socket.tx().consumer()), (0, 0));
}

/// When the consumer index follows is left open here: the table says that it lags.
fn run_old(profile: Profile, sequence: &[D], completion: u32, errno: i32, completed: &[u64], invalid: u64) {
    let world = SimWorld::of(profile);
    let socket = load(&world, sequence, completion);
    assert_eq!(socket.kick(), errno, "{} {sequence:?}", profile.name);
    let completed: Vec<u64> = completed.iter().map(|i| i * 0x1000).collect();
    assert_eq!(socket.completion().pop_all::<u64>(), completed, "{} {sequence:?}", profile.name);
    assert_eq!(socket.statistics().tx_invalid_descs, invalid, "{} {sequence:?}", profile.name);
    assert_eq!(lengths(&world).len(), completed.len());
}

#[test]
fn a2_6_1_and_5_10_skip_invalid_descriptors() {
    for profile in [Profile::LINUX_6_1, Profile::LINUX_5_10] {
        // A length of 0 is good here; options are bad.
        run_old(profile, &[C, G, G], 64, 0, &[1, 2], 1);
        run_old(profile, &[G, C, G], 64, 0, &[0, 2], 1);
        run_old(profile, &[C, C, G], 64, 0, &[2], 2);
        run_old(profile, &[C, G], 64, 0, &[1], 1);
        run_old(profile, &[G; 8], 4, 0, &[0, 1, 2, 3], 0);
        run_old(profile, &[G, G, G, G, C, G], 4, 0, &[0, 1, 2, 3], 0);
    }
}

#[test]
fn a2_6_1_and_5_10_budgets() {
    let all: Vec<u64> = (0..40).collect();
    run_old(Profile::LINUX_6_1, &[G; 40], 64, EAGAIN, &all[..32], 0);
    run_old(Profile::LINUX_5_10, &[G; 40], 64, EAGAIN, &all[..16], 0);
    let then_bad = [vec![G; 32], vec![C]].concat();
    run_old(Profile::LINUX_6_1, &then_bad, 64, EAGAIN, &all[..32], 0);
    let world = SimWorld::of(Profile::LINUX_6_1);
    let socket = load(&world, &[G; 40], 64);
    kick(&socket, 1, (EAGAIN, 0, &all[..32], 0));
    kick(&socket, 2, (0, 40, &all[32..], 0));
}
