//! Everything that goes wrong without lies about descriptors or indices.

use std::time::Duration;

use xsk_core::errno::{EAGAIN, EINTR};
use xsk_sim::fault::{Call, FaultRule};

const MS: Duration = Duration::from_millis(1);

pub fn rules() -> [FaultRule; 11] {
    [
        FaultRule::errno(Call::SendTo, EAGAIN),
        FaultRule::errno(Call::Poll, EINTR),
        FaultRule::lose_kicks(),
        FaultRule::lose_wakes(),
        FaultRule::lose_packets(),
        FaultRule::delay_packets(Duration::ZERO..MS),
        FaultRule::delay_napi(Duration::ZERO..MS),
        FaultRule::stall_napi(),
        FaultRule::starve(),
        FaultRule::lose_completions(),
        FaultRule::delay_completions(Duration::ZERO..2 * MS),
    ]
}
