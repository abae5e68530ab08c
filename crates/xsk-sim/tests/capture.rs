//! Captures: files of every kind, hostile ones too, and cards that replay and record them.

use std::num::NonZeroU32;
use std::time::Duration;

use xsk::backend::PageSize;
use xsk::config::{SocketConfig, UmemConfig};
use xsk::{FrameDesc, Socket, Umem};
use xsk_sim::capture::{CaptureError, CaptureReader, CaptureWriter, CapturedPacket, Format, Pace};
use xsk_sim::{DeviceConfig, SimKernel};

fn read(file: &[u8]) -> Result<Vec<CapturedPacket>, CaptureError> {
    CaptureReader::new(file)?.collect()
}

fn write(packets: &[CapturedPacket], format: Format) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), format).unwrap();
    packets.iter().for_each(|packet| writer.write(packet).unwrap());
    assert_eq!(writer.packets(), packets.len() as u64);
    writer.finish().unwrap()
}

fn packet(nanoseconds: u64, len: usize) -> CapturedPacket {
    CapturedPacket::new(Duration::from_nanos(nanoseconds), (0..len).map(|at| at as u8).collect())
}

fn packets() -> Vec<CapturedPacket> {
    let cut_off = CapturedPacket { original_len: 9000, ..packet(1_700_000_001_999_999_999, 61) };
    vec![packet(1_700_000_000_000_000_001, 60), cut_off, packet(1_700_000_002_000_000_000, 0)]
}

/// Numbers in one byte order.
struct Bytes {
    big: bool,
    bytes: Vec<u8>,
}

impl Bytes {
    fn u16(&mut self, number: u16) -> &mut Self {
        let bytes = if self.big { number.to_be_bytes() } else { number.to_le_bytes() };
        self.raw(&bytes)
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        let bytes = if self.big { number.to_be_bytes() } else { number.to_le_bytes() };
        self.raw(&bytes)
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self { big: self.big, bytes: Vec::new() };
        body(&mut inner);
        let len = inner.bytes.len() as u32 + 12;
        self.u32(kind).u32(len).raw(&inner.bytes).u32(len)
    }
}

fn classic(big: bool, magic: u32, link_type: u32) -> Bytes {
    let mut file = Bytes { big, bytes: Vec::new() };
    file.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(65535).u32(link_type);
    file
}

fn section(big: bool) -> Bytes {
    let mut file = Bytes { big, bytes: Vec::new() };
    file.block(0x0a0d_0d0a, |body| {
        body.u32(0x1a2b_3c4d).u16(1).u16(0).raw(&[0xff; 8]);
    });
    file
}

#[test]
fn what_is_written_is_read_back() {
    for format in [Format::Pcap, Format::PcapNg] {
        let file = write(&packets(), format);
        assert_eq!(read(&file).unwrap(), packets(), "{format:?}");
        assert_eq!(write(&packets(), format), file);
        assert_eq!(read(&write(&[], format)).unwrap(), []);
    }
}

#[test]
fn classic_files_of_both_byte_orders_and_resolutions() {
    for big in [false, true] {
        for (magic, nanoseconds) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            let mut file = classic(big, magic, 1);
            file.u32(7).u32(5).u32(3).u32(9).raw(&[1, 2, 3]);
            let expected =
                CapturedPacket { time: Duration::new(7, nanoseconds), data: vec![1, 2, 3], original_len: 9 };
            assert!(expected.is_cut_off());
            assert_eq!(read(&file.bytes).unwrap(), [expected], "{big} {magic:x}");
        }
    }
}

#[test]
fn pcapng_with_all_kinds_of_packets() {
    for big in [false, true] {
        let mut file = section(big);
        // Units of 2^-10 seconds, a hundred seconds late; then microseconds, and at most two bytes.
        file.block(1, |body| {
            body.u16(1).u16(0).u32(0).u16(2).u16(3).raw(b"abc\0").u16(9).u16(1).raw(&[0x8a, 0, 0, 0]);
            let offset = if big { 100u64.to_be_bytes() } else { 100u64.to_le_bytes() };
            body.u16(14).u16(8).raw(&offset).u16(0).u16(0);
        });
        file.block(1, |body| {
            body.u16(1).u16(0).u32(2);
        });
        file.block(6, |body| {
            body.u32(0).u32(1).u32(512).u32(3).u32(3).raw(&[1, 2, 3, 0]).u16(0).u16(0);
        });
        file.block(5, |body| {
            body.u32(0).u32(0).u32(0);
        });
        file.block(2, |body| {
            body.u16(1).u16(0).u32(0).u32(1_000_001).u32(1).u32(1).raw(&[4, 0, 0, 0]);
        });
        file.block(3, |body| {
            body.u32(5).raw(&[1, 2, 3, 4, 5, 0, 0, 0]);
        });
        // Another section, in the other byte order, forgets the interfaces.
        let mut other = section(!big);
        other.block(1, |body| {
            body.u16(1).u16(0).u32(2);
        });
        other.block(3, |body| {
            body.u32(5).raw(&[1, 2, 0, 0]);
        });
        file.raw(&other.bytes);
        let seconds = (1 << 32) / 1024 + 100;
        let at = |time, data: &[u8], original_len| CapturedPacket { time, data: data.to_vec(), original_len };
        let second = Duration::from_micros(1_000_001);
        assert_eq!(
            read(&file.bytes).unwrap(),
            [
                at(Duration::new(seconds, 500_000_000), &[1, 2, 3], 3),
                at(second, &[4], 1),
                at(second, &[1, 2, 3, 4, 5], 5),
                at(second, &[1, 2], 5),
            ]
        );
    }
}

#[test]
fn times_of_absurd_resolution_are_no_overflow() {
    for resolution in 0..=255 {
        let mut file = section(false);
        file.block(1, |body| {
            body.u16(1).u16(0).u32(0).u16(9).u16(1).raw(&[resolution, 0, 0, 0]);
        });
        file.block(6, |body| {
            body.u32(0).u32(u32::MAX).u32(u32::MAX).u32(0).u32(0);
        });
        assert_eq!(read(&file.bytes).unwrap().len(), 1, "{resolution}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let text = |file: &[u8]| read(file).unwrap_err().to_string();
    assert_eq!(text(b""), "this is no pcap or pcapng file: it begins with 0x00000000");
    assert_eq!(text(b"GET / HTTP/1.1"), "this is no pcap or pcapng file: it begins with 0x20544547");
    let raw_ip = "the capture has packets of link type 101; only Ethernet (1) is supported";
    assert_eq!(text(&classic(true, 0xa1b2_c3d4, 101).bytes), raw_ip);
    let mut file = classic(false, 0xa1b2_c3d4, 1);
    file.u32(0).u32(0).u32(262_145).u32(0);
    let long = "the capture is broken at byte 24: the length of a packet is 262145, expected at most 262144";
    assert_eq!(text(&file.bytes), long);
    let mut file = section(true);
    file.block(1, |body| {
        body.u16(101).u16(0).u32(0);
    });
    file.block(3, |body| {
        body.u32(0);
    });
    assert_eq!(text(&file.bytes), raw_ip);
    let mut file = section(true);
    file.block(6, |body| {
        body.u32(3).u32(0).u32(0).u32(0).u32(0);
    });
    assert!(
        text(&file.bytes).contains("at byte 28: the interface of a packet is 3"),
        "{}",
        text(&file.bytes)
    );
    let mut file = section(false);
    file.u32(5).u32(12).u32(16);
    assert!(text(&file.bytes).contains("at the end of a block is 16"), "{}", text(&file.bytes));

    // The end of the iterator is the end, also after an error with more behind it.
    file.u32(5).u32(12).u32(16);
    let mut reader = CaptureReader::new(&file.bytes[..]).unwrap();
    assert!(reader.next().unwrap().is_err() && reader.next().is_none());
}

#[test]
fn a_file_that_ends_early_keeps_its_whole_packets() {
    for format in [Format::Pcap, Format::PcapNg] {
        let file = write(&packets(), format);
        // A file may end between two packets, or blocks, only.
        let whole = (0..=file.len()).filter(|&end| read(&file[..end]).is_ok()).count();
        assert_eq!(whole, packets().len() + if format == Format::Pcap { 1 } else { 2 });
        for end in 28..file.len() {
            let read: Vec<_> = CaptureReader::new(&file[..end]).unwrap().map_while(Result::ok).collect();
            assert_eq!(read, packets()[..read.len()], "{end}");
        }
    }
}

#[test]
fn hostile_bytes_are_errors_at_worst() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut fixtures: Vec<_> =
        [Format::Pcap, Format::PcapNg].map(|format| write(&packets(), format)).to_vec();
    let mut big = section(true);
    big.block(1, |body| {
        body.u16(1).u16(0).u32(0).u16(9).u16(1).raw(&[6, 0, 0, 0]).u16(0).u16(0);
    });
    big.block(3, |body| {
        body.u32(4).raw(&[1, 2, 3, 4]);
    });
    fixtures.push(big.bytes);
    let (mut good, mut bad) = (0, 0);
    for file in fixtures {
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, random() as u8] {
                let mut file = file.clone();
                file[at] = value;
                match read(&file) {
                    Ok(_) => good += 1,
                    Err(_) => bad += 1,
                }
            }
        }
        for _ in 0..2000 {
            let mut file = file.clone();
            for _ in 0..1 + random() % 8 {
                let at = random() as usize % file.len();
                file[at] = random() as u8;
            }
            let _ = read(&file);
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}

#[test]
fn what_the_formats_cannot_hold_is_refused() {
    let late = CapturedPacket::new(Duration::from_secs(1 << 32), vec![0; 60]);
    let mut writer = CaptureWriter::new(Vec::new(), Format::Pcap).unwrap();
    assert!(matches!(writer.write(&late), Err(CaptureError::Unwritable { .. })));
    writer.write(&packet(0, 60)).unwrap();
    assert_eq!(read(&writer.finish().unwrap()).unwrap(), [packet(0, 60)]);
    assert_eq!(read(&write(std::slice::from_ref(&late), Format::PcapNg)).unwrap(), [late]);
    let mut writer = CaptureWriter::new(Vec::new(), Format::PcapNg).unwrap();
    assert!(writer.write(&packet(0, 262_145)).is_err());
    writer.write(&packet(0, 262_144)).unwrap();
}

#[test]
fn a_card_replays_and_records() {
    let base = 1_700_000_000_000_000_000;
    let capture = [packet(base, 60), packet(base, 5), packet(base + 3_000_000, 70), packet(base - 1, 80)];
    let kernel = SimKernel::new(1);
    kernel.watch_frames(true);
    let card = kernel.card("c", &DeviceConfig::default()).unwrap();
    let frames = NonZeroU32::new(8).unwrap();
    let (umem, descs) =
        Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal).unwrap();
    // SAFETY: each frame is handed over once.
    let opened = unsafe { Socket::new(SocketConfig::default(), &umem, &"c".parse().unwrap(), 0) };
    let (mut tx, mut rx, rings) = opened.unwrap();
    let (mut fill, mut comp) = rings.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { fill.produce(&descs) }, 8);

    let file = write(&capture, Format::Pcap);
    let start = kernel.time();
    let replayed = card.replay(0, CaptureReader::new(&file[..]).unwrap(), Pace::AsCaptured).unwrap();
    assert_eq!((replayed.packets, replayed.too_short), (3, 1));
    assert!(card.replay(1, [Ok(packet(0, 60))], Pace::AsCaptured).is_err(), "no such queue");

    // Polls move time to the moment of the next packet: 0 and 0 (the late one), then 3 ms.
    let mut desc = FrameDesc::default();
    let mut lens = Vec::new();
    for moment in [0, 0, 3] {
        assert!(rx.poll(100).unwrap());
        assert_eq!((kernel.time() - start).as_millis(), moment);
        // SAFETY: one UMEM, and each frame goes one way.
        unsafe {
            assert_eq!(rx.consume_one(&mut desc), 1);
            lens.push(umem.data(&desc).len());
            assert_eq!(tx.produce_one_and_wakeup(&desc).unwrap(), 1);
            assert_eq!(comp.consume_one(&mut desc), 1);
            assert_eq!(fill.produce_one(&desc), 1);
        }
    }
    assert_eq!(lens, [60, 80, 70]);
    assert!(!rx.poll(100).unwrap());

    let mut writer = CaptureWriter::new(Vec::new(), Format::Pcap).unwrap();
    assert_eq!(card.record(&mut writer, Duration::from_nanos(base)).unwrap(), 3);
    let sent = read(&writer.finish().unwrap()).unwrap();
    assert_eq!(sent.iter().map(|packet| packet.data.len()).collect::<Vec<_>>(), lens);
    let gap = sent[2].time - sent[0].time;
    assert!(gap >= Duration::from_millis(2) && gap <= Duration::from_millis(4), "{gap:?}");

    // At full speed they are all there at once: what finds no frame is lost.
    card.replay(0, (0..20).map(|_| Ok(packet(0, 60))), Pace::Every(Duration::ZERO)).unwrap();
    assert!(rx.poll(100).unwrap());
    kernel.run_until_idle(100);
    assert_eq!(rx.nb_avail(20), 8);
    assert_eq!(rx.fd().xdp_statistics().unwrap().rx_dropped(), 12);
    kernel.frames().check().unwrap();
}
