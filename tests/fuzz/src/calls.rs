//! Any calls on the simulated kernel, in any order, and user memory written at any time: each call has a result that Linux
//! could have, or what happened is a crash that says so; and when all is closed, nothing is left.
//!
//! The calls are those of the differential check, which does them on Linux as well.

mod decode;
// The very files of that check.
#[allow(dead_code)]
#[path = "../../src/calls/mod.rs"]
mod vocabulary;

use std::time::Duration;

use xsk::backend::{Backend, Handle, Poll, PollEvents, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_sim::fault::{DeviceFault, FaultRule};
use xsk_sim::{DeviceConfig, Profile, SimDevice, SimKernel};

use decode::Step;
use vocabulary::net::{Net, SimNet};
use vocabulary::op::SOCKETS;
use vocabulary::player::{Answer, Player};

pub fn run(data: &[u8]) {
    let Some(input) = decode::input(data) else { return };
    let profiles = [Profile::default(), Profile::LINUX_6_1, Profile::LINUX_5_10];
    let kernel = SimKernel::with_profile(input.seed, profiles[usize::from(input.profile) % profiles.len()]);
    kernel.record(256);
    let net = SimNet::on(kernel, input.place, DeviceConfig::default().threaded(input.threaded));
    net.settles.set(input.settles);
    let kernel = &net.kernel;
    let faults = faults(&net.ends[0], input.faults);
    let guards: Vec<_> = faults.into_iter().map(|rule| kernel.fault(rule.chance(0.1))).collect();
    let mut links = [Some(net.kept[1]), Some(net.kept[3])];
    let mut player = Player::new(&net);
    for (number, step) in input.steps.iter().enumerate() {
        match step {
            Step::Op(op) => {
                let answer = player.apply(op, None);
                is_possible(&answer, op);
            }
            other => beside(other, &net, &player, &mut links),
        }
        // These take longer than most calls.
        if number % 8 == 0 {
            player.look();
            player.received();
            let _ = (kernel.frames(), kernel.snapshot());
        }
        if kernel.take_crash().is_some() {
            return;
        }
    }
    // What was stalled goes on.
    drop((player, guards));
    end(&net, links);
}

fn faults(device: &SimDevice, chosen: u16) -> Vec<FaultRule> {
    let ms = Duration::from_millis(1);
    let rules = [
        FaultRule::lose_kicks(),
        FaultRule::lose_wakes(),
        FaultRule::lose_packets(),
        FaultRule::delay_packets(Duration::ZERO..ms),
        FaultRule::delay_napi(Duration::ZERO..ms),
        FaultRule::stall_napi(),
        FaultRule::starve(),
        FaultRule::corrupt_rx(),
        FaultRule::lose_completions(),
        FaultRule::delay_completions(Duration::ZERO..ms),
        FaultRule::corrupt_completions(),
        FaultRule::corrupt_index(xsk_sim::fault::Ring::Rx),
        FaultRule::corrupt_index(xsk_sim::fault::Ring::Completion),
        FaultRule::device_fault(device, DeviceFault::Flap(ms)).times(2),
    ];
    rules.into_iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, rule)| rule).collect()
}

/// An errno, or one of the outcomes that only a simulator has.
fn is_possible(answer: &Answer, call: &dyn std::fmt::Debug) {
    let possible = match answer {
        Answer::Errno(errno) => *errno > 0,
        Answer::Refused(why) => {
            why.starts_with("Linux would crash here")
                || why.starts_with("the simulated kernel does not model")
                || why.contains("poll")
        }
        Answer::Ok(number, _) => *number >= 0,
    };
    assert!(possible, "{call:?}: {answer:?}");
}

/// What is no call of a socket's: time, programs.
fn beside(step: &Step, net: &SimNet, player: &Player<'_>, links: &mut [Option<Handle>; 2]) {
    let kernel = &net.kernel;
    match *step {
        Step::Op(_) => {}
        Step::Run(steps) => _ = kernel.run_until_idle(steps.into()),
        Step::Sleep(ms) => kernel.sleep(Duration::from_millis(ms.into())),
        Step::Wait { s, events, timeout } => {
            let events = PollEvents::from_bits_retain(events);
            let socket = player.socket(s);
            let mut polls = [Poll { socket, events, ready: PollEvents::empty() }];
            let result = kernel.poll(&mut polls, timeout.into());
            let answer = result.map_or_else(
                |e| e.raw_os_error().map_or_else(|| Answer::Refused(e.to_string()), Answer::Errno),
                |ready| Answer::Ok(ready as i64, Vec::new()),
            );
            is_possible(&answer, step);
        }
        Step::Detach { end } => links[end].take().into_iter().for_each(|link| kernel.close(link)),
        Step::Attach { end, flags } => {
            if links[end].is_some() {
                return;
            }
            let frags = flags & 1 << 20 != 0;
            let Ok(program) = kernel.program_load(&RedirectProgram { map: net.map(end), frags }) else {
                return;
            };
            let mode = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE][(flags & 1) as usize];
            let flags = if flags & 2 == 0 { mode } else { XdpFlags::from_bits_retain(flags) };
            links[end] = kernel.link_create(program, net.index(end), flags).ok();
            kernel.close(program);
        }
    }
}

/// Everything is closed and unmapped; nothing may be left.
fn end(net: &SimNet, links: [Option<Handle>; 2]) {
    let kernel = &net.kernel;
    links.into_iter().flatten().for_each(|link| kernel.close(link));
    [net.kept[0], net.kept[2], net.map(0), net.map(1)].into_iter().for_each(|handle| kernel.close(handle));
    kernel.run_until_idle(10_000);
    if kernel.take_crash().is_none() {
        let left = kernel.snapshot();
        assert!(!left.contains("socket") && !left.contains("umem"), "left behind: {left}");
    }
    const { assert!(SOCKETS == 3) };
}
