//! How much room there is behind a packet that a program gets.
//!
//! Measured on 6.18.44, packet by packet; what the functions named here say agrees.

use xsk_core::abi::XDP_PACKET_HEADROOM;

use super::buff::HEAD_MAX;
use crate::profile::SHARED_INFO;

const PAGE: usize = 4096;
const HEADROOM: usize = XDP_PACKET_HEADROOM as usize;
const SHARED: usize = SHARED_INFO as usize;

fn aligned(len: usize) -> usize {
    len.next_multiple_of(64)
}

/// The page that packets are copied into for native programs and for those that take fragments
/// (`net/core/skbuff.c:skb_pp_cow_data`): piece by piece, as long as they are short.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PagePool {
    /// Where the next piece starts. At first, as behind a full page: in a new one.
    offset: usize,
}

impl PagePool {
    /// A piece of so many bytes; how long it really is (`include/net/page_pool/helpers.h:page_pool_alloc_netmem`).
    fn take(&mut self, size: usize) -> usize {
        if 2 * size > PAGE {
            return PAGE;
        }
        let start = if self.offset + size > PAGE { 0 } else { self.offset };
        self.offset = start + size;
        // Another one would hardly fit: this one gets the rest.
        if self.offset + size > PAGE {
            self.offset = PAGE;
        }
        self.offset - start
    }

    /// Copies a packet of `len` bytes; how many bytes of data its first piece has room for.
    pub(crate) fn copy(&mut self, len: usize) -> usize {
        let head = len.min(HEAD_MAX);
        let room = self.take(HEADROOM + aligned(head) + SHARED) - HEADROOM - SHARED;
        let mut rest = len - head;
        while rest > 0 {
            let piece = rest.min(PAGE);
            self.take(piece);
            rest -= piece;
        }
        room
    }
}

/// The size of a packet's buffer (`net/core/skbuff.c:kmalloc_reserve`): from the cache for small ones, or a power of two.
fn buffer(data: usize) -> usize {
    const SMALL: usize = 576;
    let size = aligned(data) + SHARED;
    if size <= SMALL { SMALL } else { size.next_power_of_two() }
}

/// How many bytes of data there is room for where a packet gets more headroom in place, for programs that do not take
/// fragments in SKB mode (`net/core/dev.c:netif_skb_check_for_xdp`). The stack leaves two bytes before a packet, AF_XDP 64.
pub(crate) fn expanded(len: usize, of_af_xdp: bool) -> usize {
    const IN_PIECES: usize = 128;
    let (headroom, reserved) = if of_af_xdp { (64, 64) } else { (2, 16) };
    if reserved + len >= PAGE {
        // It comes in pieces, which are put together.
        return len + IN_PIECES;
    }
    let more = aligned(HEADROOM - headroom);
    let end = buffer(reserved + len) - SHARED;
    buffer(end + more) - SHARED - headroom - more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_page() {
        let rooms = |len: usize| {
            let mut pool = PagePool::default();
            [(); 8].map(|()| pool.copy(len) - len)
        };
        assert_eq!(rooms(60), [4, 4, 4, 4, 4, 260, 4, 4]);
        assert_eq!(rooms(1000), [24, 920, 24, 920, 24, 920, 24, 920]);
        assert_eq!(rooms(1473), [2047; 8]);
        // The last piece of a longer packet is one as well.
        let mut pool = PagePool::default();
        assert_eq!((pool.copy(HEAD_MAX + 2000), pool.offset), (HEAD_MAX, 2000));
    }

    #[test]
    fn more_headroom_in_place() {
        let rooms = |af_xdp| [60, 192, 500, 1000, 1500].map(|len| expanded(len, af_xdp) - len);
        assert_eq!(rooms(false), [386, 254, 970, 2518, 2018]);
        assert_eq!(rooms(true), [388, 256, 972, 2520, 2020]);
    }
}
