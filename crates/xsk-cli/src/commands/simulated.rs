//! A simulated kernel with one card, for captures as ends of `capture` and `replay`.

use std::time::Duration;

use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::cli::SocketOptions;
use crate::datapath::{Datapath, Need, Request};
use crate::failure::Failure;
use crate::values::Target;

/// The largest MTU with which a program runs in a driver, packets of one frame each; and without such limits.
const NATIVE_MTU: u32 = 3506;
const MTU: u32 = 65_535;
/// A packet is never longer than this after the first one: a capture that says so is broken.
pub(super) const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A card with its ports.
pub(super) struct Card {
    // Before the kernel, whose end finds nothing open.
    pub(super) datapath: Datapath,
    pub(super) card: SimDevice,
    pub(super) kernel: SimKernel,
}

/// The MTU of a card such that all that these sockets can take comes in.
pub(super) fn config(sockets: &SocketOptions) -> DeviceConfig {
    let mtu = if sockets.skb || sockets.multi_buffer { MTU } else { NATIVE_MTU };
    DeviceConfig::default().mtu(mtu)
}

pub(super) fn cannot(error: std::io::Error) -> Failure {
    Failure::cannot_run(format!("cannot make a simulated card: {error}"))
}

pub(super) fn card(need: Need, sockets: &SocketOptions) -> Result<Card, Failure> {
    let kernel = SimKernel::new(0);
    let card = kernel.card("sim", &config(sockets)).map_err(cannot)?;
    let targets = [Target { name: "sim".to_owned(), queue: None }];
    let (datapath, _) = Request { targets: &targets, need, options: sockets }.open_on(&kernel.backend())?;
    Ok(Card { datapath, card, kernel })
}
