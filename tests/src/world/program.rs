//! The programs as Linux runs them.

use xsk::backend::Handle;

use super::Program;

/// An instruction as in the kernel's `struct bpf_insn`.
fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(immediate.cast_unsigned()) << 32
}

/// The instructions of a program. `counter`: a map with one element of eight bytes. Registers: r1 is the context at first,
/// r2 the slot at the end.
pub(super) fn assemble(program: Program, map: Handle, counter: i32) -> Vec<u64> {
    const DROP: i32 = 1;
    const REDIRECT: i32 = 23;
    const ADJUST_HEAD: i32 = 44;
    const REDIRECT_MAP: i32 = 51;
    const ADJUST_META: i32 = 54;
    const ADJUST_TAIL: i32 = 65;
    // In struct xdp_md.
    const DATA: i16 = 0;
    const DATA_END: i16 = 4;
    const DATA_META: i16 = 8;
    const RX_QUEUE_INDEX: i16 = 16;
    let set = |to, value| op(0xb7, to, 0, 0, value);
    let copy = |to, from| op(0xbf, to, from, 0, 0);
    let add = |to, value| op(0x07, to, 0, 0, value);
    let load_byte = |to, from, offset| op(0x71, to, from, offset, 0);
    let load_word = |to, from, offset| op(0x61, to, from, offset, 0);
    let load_double = |to, from| op(0x79, to, from, 0, 0);
    let store_double = |to, from| op(0x7b, to, from, 0, 0);
    let store_byte = |to, offset, value| op(0x72, to, 0, offset, value);
    // Skip so many instructions if ...
    let if_zero = |register, skip| op(0x15, register, 0, skip, 0);
    let if_not_greater = |left, right, skip| op(0xbd, left, right, skip, 0);
    let call = |function| op(0x85, 0, 0, 0, function);
    let exit = || op(0x95, 0, 0, 0, 0);
    // Of two words: a map, and the value in an array.
    let map_in = |to| [op(0x18, to, 1, 0, map.0), 0];
    let counter_in = |to| [op(0x18, to, 2, 0, counter), 0];
    let drop = [set(0, DROP), exit()];
    // Metadata of so many bytes: r6 is the context, r2 becomes its start. It ends where the packet starts.
    let metadata = |len| {
        let bounds = [load_word(2, 6, DATA_META), load_word(3, 6, DATA), copy(4, 2), add(4, len)];
        [&bounds[..], &[if_not_greater(4, 3, 2)], &drop].concat()
    };

    let mut fallback = DROP;
    let mut code = match program {
        Program::Redirect => vec![set(2, 0)],
        Program::To(slot, flags) => {
            fallback = flags as i32;
            vec![set(2, slot.cast_signed())]
        }
        Program::DropHalf => [
            &counter_in(1)[..],
            &[load_double(2, 1), copy(3, 2), add(3, 1), store_double(1, 3)],
            &[op(0x57, 2, 0, 0, 1), if_zero(2, 2)],
            &drop,
            &[set(2, 0)],
        ]
        .concat(),
        Program::ByAddress => [
            &[load_word(2, 1, DATA), load_word(3, 1, DATA_END), copy(4, 2), add(4, 6)][..],
            &[if_not_greater(4, 3, 2)],
            &drop,
            &[load_byte(2, 2, 5), op(0x77, 2, 0, 0, 1)],
        ]
        .concat(),
        Program::CountInMetadata => [
            &[copy(6, 1), set(2, -8), call(ADJUST_META), if_zero(0, 2)][..],
            &drop,
            &metadata(8),
            &counter_in(1),
            &[load_double(5, 1), store_double(2, 5), add(5, 1), store_double(1, 5), set(2, 0)],
        ]
        .concat(),
        Program::AdjustMeta(delta) => {
            let len = if delta < 0 { -delta } else { 0 };
            let stores: Vec<u64> = (0..len).map(|at| store_byte(2, at as i16, 0x4d)).collect();
            let fill = [&metadata(len)[..], &stores].concat();
            let start = [copy(6, 1), set(2, delta), call(ADJUST_META)];
            // Only if it was adjusted.
            let unless = op(0x55, 0, 0, fill.len() as i16, 0);
            [&start[..], &[unless], &fill, &[set(2, 0)]].concat()
        }
        Program::AdjustHead(delta) => vec![set(2, delta), call(ADJUST_HEAD), set(2, 0)],
        Program::AdjustTail(delta) => vec![set(2, delta), call(ADJUST_TAIL), set(2, 0)],
        Program::ToDevice(index) => {
            return vec![set(1, index.cast_signed()), set(2, 0), call(REDIRECT), exit()];
        }
        Program::Verdict(verdict) => return vec![set(0, verdict.cast_signed()), exit()],
        Program::SeeQueue => {
            let store = [load_word(2, 1, RX_QUEUE_INDEX), add(2, 1)];
            return [&store[..], &counter_in(1), &[store_double(1, 2)], &drop].concat();
        }
    };
    code.extend(map_in(1));
    code.extend([set(3, fallback), call(REDIRECT_MAP), exit()]);
    code
}
