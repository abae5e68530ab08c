//! Captures of any bytes: an error or packets, and what was read can be written and read again.

use xsk_sim::capture::{CaptureReader, CaptureWriter, CapturedPacket, Format, LONGEST_PACKET};

pub fn run(data: &[u8]) {
    let Ok(reader) = CaptureReader::new(data) else { return };
    let mut packets: Vec<CapturedPacket> = Vec::new();
    let mut bytes = 0;
    let mut over = false;
    for packet in reader {
        assert!(!over, "something behind an error");
        match packet {
            Ok(packet) => {
                bytes += packet.data.len();
                assert!(packet.data.len() <= LONGEST_PACKET as usize);
                packets.push(packet);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                over = true;
            }
        }
    }
    assert!(bytes <= data.len(), "{bytes} bytes of packets in a file of {}", data.len());
    for format in [Format::Pcap, Format::PcapNg] {
        let mut writer = CaptureWriter::new(Vec::new(), format).expect("memory");
        // A time that a format cannot tell is refused.
        let written: Vec<_> = packets.iter().filter(|packet| writer.write(packet).is_ok()).cloned().collect();
        let file = writer.finish().expect("memory");
        let again = CaptureReader::new(&file[..]).expect("a capture").collect::<Result<Vec<_>, _>>();
        assert_eq!(again.expect("what was written can be read"), written);
    }
}
