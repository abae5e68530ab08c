#![allow(clippy::print_stdout)]
use std::num::NonZeroU32;
use std::time::Instant;

use xsk::backend::PageSize;
use xsk::config::{SocketConfig, UmemConfig, XdpFlags};
use xsk::{FrameDesc, Socket, Umem};
use xsk_sim::{DeviceConfig, SimKernel};

fn main() {
    for mode in [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE] {
        let kernel = SimKernel::new(1);
        kernel.veth("a", "b", &DeviceConfig::default()).unwrap();
        let (umem, descs) = Umem::new_in(
            kernel.backend(),
            UmemConfig::default(),
            NonZeroU32::new(256).unwrap(),
            PageSize::Normal,
        )
        .unwrap();
        let config = SocketConfig::builder().xdp_flags(mode).build();
        let (mut tx_a, _rx_a, r) = unsafe { Socket::new(config, &umem, &"a".parse().unwrap(), 0) }.unwrap();
        let (_fill_a, mut comp_a) = r.unwrap();
        let (_tx_b, mut rx_b, r) = unsafe { Socket::new(config, &umem, &"b".parse().unwrap(), 0) }.unwrap();
        let (mut fill_b, _comp_b) = r.unwrap();
        let mut out: Vec<FrameDesc> = descs[..32].to_vec();
        for d in &mut out {
            use std::io::Write;
            unsafe { umem.data_mut(d) }.cursor().write_all(&[7; 60]).unwrap();
        }
        unsafe { fill_b.produce(&descs[64..128]) };
        let start = Instant::now();
        let rounds = 200_000;
        let mut got = [FrameDesc::default(); 32];
        let mut done = [FrameDesc::default(); 32];
        let mut total = 0;
        for _ in 0..rounds {
            unsafe {
                tx_a.produce_and_wakeup(&out).unwrap();
                let n = rx_b.consume(&mut got);
                fill_b.produce(&got[..n]);
                total += n;
                comp_a.consume(&mut done);
            }
        }
        let t = start.elapsed().as_secs_f64();
        println!("{mode:?} {total} packets, {:.2} Mpps", total as f64 / t / 1e6);
    }
}
