use xsk_core::abi::{
    Pod, XDP_TXMD_FLAGS_CHECKSUM, XDP_TXMD_FLAGS_LAUNCH_TIME, XDP_TXMD_FLAGS_TIMESTAMP,
    xsk_tx_metadata_request,
};
use xsk_core::errno::EINVAL;

use crate::error::Failure;
use crate::kernel::Kernel;
use crate::profile::LaunchTime;

use super::Route;

/// The metadata was refused.
pub(super) struct Refused(pub(super) Failure);

const INVALID: Refused = Refused(Failure::Errno(EINVAL));
/// Bytes of `struct xsk_tx_metadata`.
const METADATA: usize = 24;
/// Where the completion's timestamp is in it.
const TIMESTAMP: u64 = 8;

impl Kernel {
    /// Does what the metadata before `at` asks for (`net/xdp/xsk.c:xsk_skb_metadata`). Returns where the time of completion
    /// is wanted, if it is.
    pub(super) fn apply_metadata(
        &self,
        route: Route,
        at: u64,
        data: &mut [u8],
    ) -> Result<Option<u64>, Refused> {
        let umem = &self.umems[route.umem];
        let room = umem.tx_metadata_len as usize;
        let Some(start) = at.checked_sub(room as u64).filter(|_| room > 0) else { return Err(INVALID) };
        let mut request = xsk_tx_metadata_request::default();
        // Shorter metadata is followed by the packet, which Linux reads as metadata then; so does this.
        let bytes: [u8; METADATA] = match umem.size.checked_sub(start) {
            Some(left) if left >= METADATA as u64 => umem.memory.read(start),
            _ => return Err(INVALID),
        };
        request.as_bytes_mut().copy_from_slice(&bytes);
        let mut known = XDP_TXMD_FLAGS_TIMESTAMP | XDP_TXMD_FLAGS_CHECKSUM;
        if self.profile.launch_time != LaunchTime::Unknown {
            known |= XDP_TXMD_FLAGS_LAUNCH_TIME;
        }
        if request.flags & !known != 0 {
            return Err(INVALID);
        }
        let timed = request.flags & XDP_TXMD_FLAGS_LAUNCH_TIME != 0;
        if timed && self.profile.launch_time == LaunchTime::NeedsRoom && room < METADATA {
            return Err(INVALID);
        }
        if request.flags & XDP_TXMD_FLAGS_CHECKSUM != 0 {
            let from = usize::from(request.csum_start);
            let to = from + usize::from(request.csum_offset);
            if to + 2 > data.len() {
                return Err(INVALID);
            }
            // Else the packet leaves with its checksum to be done by hardware, which no device here has.
            if umem.sw_csum {
                let sum = internet_checksum(&data[from..]);
                data[to..to + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        let wants_time = request.flags & XDP_TXMD_FLAGS_TIMESTAMP != 0;
        Ok(wants_time.then_some(start + TIMESTAMP))
    }
}

/// The ones' complement of the ones' complement sum of 16-bit words; never 0 (`net/core/dev.c:skb_checksum_help`).
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
    let mut sum: u64 = words.map(u64::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}
