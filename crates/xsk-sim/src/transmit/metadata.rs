use xsk::backend::TxOffloads;
use xsk_core::abi::{XDP_TXMD_FLAGS_CHECKSUM, XDP_TXMD_FLAGS_LAUNCH_TIME, XDP_TXMD_FLAGS_TIMESTAMP};
use xsk_core::errno::EINVAL;

use crate::error::Failure;
use crate::kernel::Kernel;
use crate::profile::LaunchTime;

use super::Route;

/// The metadata was refused.
pub(super) struct Refused(pub(super) Failure);

const INVALID: Refused = Refused(Failure::Errno(EINVAL));
/// Bytes of `struct xsk_tx_metadata`, and where its fields are. Only those that a flag asks for are read: metadata that is
/// shorter than the struct is followed by the packet.
const METADATA: u32 = 24;
const CSUM_START: u64 = 8;
const CSUM_OFFSET: u64 = 10;
const LAUNCH_TIME: u64 = 16;
const TIMESTAMP: u64 = 8;

impl Kernel {
    /// What packets can ask for. No card here does anything of it itself.
    pub(crate) fn tx_offloads(&self, zero_copy: bool) -> TxOffloads {
        let known = match self.profile.launch_time {
            LaunchTime::Unknown => TxOffloads::TIMESTAMP | TxOffloads::CHECKSUM,
            _ => TxOffloads::all(),
        };
        if zero_copy { TxOffloads::empty() } else { known }
    }

    /// Does what the metadata before `at` asks for (`net/xdp/xsk.c:xsk_skb_metadata`). Returns where the time of completion
    /// is wanted, if it is.
    pub(super) fn apply_metadata(
        &mut self,
        route: Route,
        at: u64,
        data: &mut [u8],
    ) -> Result<Option<u64>, Refused> {
        let umem = &self.umems[route.umem];
        let room = umem.tx_metadata_len;
        let Some(start) = at.checked_sub(u64::from(room)).filter(|_| room > 0) else { return Err(INVALID) };
        let flags = u64::from_ne_bytes(umem.memory.read(start));
        let asks = |flag| flags & flag != 0;
        let mut known = XDP_TXMD_FLAGS_TIMESTAMP | XDP_TXMD_FLAGS_CHECKSUM;
        if self.profile.launch_time != LaunchTime::Unknown {
            known |= XDP_TXMD_FLAGS_LAUNCH_TIME;
        }
        if flags & !known != 0 {
            return Err(INVALID);
        }
        let timed = asks(XDP_TXMD_FLAGS_LAUNCH_TIME);
        if timed && self.profile.launch_time == LaunchTime::NeedsRoom && room < METADATA {
            return Err(INVALID);
        }
        let ends = [
            (asks(XDP_TXMD_FLAGS_CHECKSUM), CSUM_OFFSET + 2),
            (timed, LAUNCH_TIME + 8),
            (asks(XDP_TXMD_FLAGS_TIMESTAMP), TIMESTAMP + 8),
        ];
        if ends.iter().any(|(asked, end)| *asked && start + end > umem.memory.len() as u64) {
            self.crash(
                "net/xdp/xsk.c:xsk_skb_metadata",
                "short TX metadata at the end of a UMEM is read beyond it",
            );
            return Err(INVALID);
        }
        let umem = &self.umems[route.umem];
        if asks(XDP_TXMD_FLAGS_CHECKSUM) {
            let word = |at| usize::from(u16::from_ne_bytes(umem.memory.read(start + at)));
            let from = word(CSUM_START);
            let to = from + word(CSUM_OFFSET);
            if to + 2 > data.len() {
                return Err(INVALID);
            }
            // Else the packet leaves with its checksum to be done by hardware, which no device here has.
            if umem.sw_csum {
                let sum = internet_checksum(&data[from..]);
                data[to..to + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        Ok(asks(XDP_TXMD_FLAGS_TIMESTAMP).then_some(start + TIMESTAMP))
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
