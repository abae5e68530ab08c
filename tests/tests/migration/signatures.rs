//! Every function of xsk-rs 0.11 by its type, and the traits of its types. As with `program`, without one line this compiles
//! against that crate.
#![deny(warnings)]

use xsk as xsk_rs;

use std::borrow::{Borrow, BorrowMut};
use std::convert::TryFrom;
use std::error::Error;
use std::ffi::{CString, NulError};
use std::fmt::Debug;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::os::unix::io::AsRawFd;
use std::str::FromStr;

use xsk_rs::config::{
    BindFlags, FrameSize, FrameSizeError, Interface, LibxdpFlags, QueueSize, QueueSizeError, SocketConfig,
    SocketConfigBuilder, UmemConfig, UmemConfigBuilder, UmemConfigBuilderError, XDP_UMEM_MIN_CHUNK_SIZE,
    XdpFlags,
};
use xsk_rs::socket::{Fd, SocketCreateError, XdpStatistics};
use xsk_rs::umem::UmemCreateError;
use xsk_rs::umem::frame::{Cursor, Data, DataMut, Headroom, HeadroomMut, SegmentLengths};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

type Rings = Option<(FillQueue, CompQueue)>;

/// Every function, by its type to the letter.
pub(crate) fn signatures() {
    const _: u32 = XDP_UMEM_MIN_CHUNK_SIZE;
    let _: fn(u32) -> Result<QueueSize, QueueSizeError> = QueueSize::new;
    let _: fn(&QueueSize) -> u32 = QueueSize::get;
    let _: fn(u32) -> Result<QueueSize, QueueSizeError> = <QueueSize as TryFrom<u32>>::try_from;
    let _: fn(u32) -> Result<FrameSize, FrameSizeError> = FrameSize::new;
    let _: fn(&FrameSize) -> u32 = FrameSize::get;
    let _: fn(u32) -> Result<FrameSize, FrameSizeError> = <FrameSize as TryFrom<u32>>::try_from;

    let _: fn(CString) -> Interface = Interface::new;
    let _: fn(&str) -> Result<Interface, NulError> = <Interface as FromStr>::from_str;
    let _: fn(&'static [u8]) -> Result<Interface, NulError> = <Interface as TryFrom<&[u8]>>::try_from;
    let _: fn(Vec<u8>) -> Result<Interface, NulError> = <Interface as TryFrom<Vec<u8>>>::try_from;

    type Build<B, T> = fn(&mut B, T) -> &mut B;
    let _: fn() -> SocketConfigBuilder = SocketConfigBuilder::new;
    let _: fn() -> SocketConfigBuilder = SocketConfigBuilder::default;
    let _: Build<SocketConfigBuilder, QueueSize> = SocketConfigBuilder::rx_queue_size;
    let _: Build<SocketConfigBuilder, QueueSize> = SocketConfigBuilder::tx_queue_size;
    let _: Build<SocketConfigBuilder, LibxdpFlags> = SocketConfigBuilder::libxdp_flags;
    let _: Build<SocketConfigBuilder, XdpFlags> = SocketConfigBuilder::xdp_flags;
    let _: Build<SocketConfigBuilder, BindFlags> = SocketConfigBuilder::bind_flags;
    let _: fn(&SocketConfigBuilder) -> SocketConfig = SocketConfigBuilder::build;
    let _: fn() -> SocketConfigBuilder = SocketConfig::builder;
    let _: fn() -> SocketConfig = SocketConfig::default;
    let _: fn(&SocketConfig) -> QueueSize = SocketConfig::rx_queue_size;
    let _: fn(&SocketConfig) -> QueueSize = SocketConfig::tx_queue_size;
    let _: fn(&SocketConfig) -> &LibxdpFlags = SocketConfig::libxdp_flags;
    let _: fn(&SocketConfig) -> &XdpFlags = SocketConfig::xdp_flags;
    let _: fn(&SocketConfig) -> &BindFlags = SocketConfig::bind_flags;

    let _: fn() -> UmemConfigBuilder = UmemConfigBuilder::new;
    let _: fn() -> UmemConfigBuilder = UmemConfigBuilder::default;
    let _: Build<UmemConfigBuilder, FrameSize> = UmemConfigBuilder::frame_size;
    let _: Build<UmemConfigBuilder, QueueSize> = UmemConfigBuilder::fill_queue_size;
    let _: Build<UmemConfigBuilder, QueueSize> = UmemConfigBuilder::comp_queue_size;
    let _: Build<UmemConfigBuilder, u32> = UmemConfigBuilder::frame_headroom;
    let _: fn(&UmemConfigBuilder) -> Result<UmemConfig, UmemConfigBuilderError> = UmemConfigBuilder::build;
    let _: fn() -> UmemConfigBuilder = UmemConfig::builder;
    let _: fn() -> UmemConfig = UmemConfig::default;
    let _: fn(&UmemConfig) -> FrameSize = UmemConfig::frame_size;
    let _: fn(&UmemConfig) -> QueueSize = UmemConfig::fill_queue_size;
    let _: fn(&UmemConfig) -> QueueSize = UmemConfig::comp_queue_size;
    let _: fn(&UmemConfig) -> u32 = UmemConfig::xdp_headroom;
    let _: fn(&UmemConfig) -> u32 = UmemConfig::frame_headroom;
    let _: fn(&UmemConfig) -> u32 = UmemConfig::mtu;

    type NewUmem = fn(UmemConfig, NonZeroU32, bool) -> Result<(Umem, Vec<FrameDesc>), UmemCreateError>;
    let _: NewUmem = Umem::new;
    type Frame = for<'u, 'd> unsafe fn(&'u Umem, &'d FrameDesc) -> (Headroom<'u>, Data<'u>);
    let _: Frame = Umem::frame;
    let _: for<'u, 'd> unsafe fn(&'u Umem, &'d FrameDesc) -> Headroom<'u> = Umem::headroom;
    let _: for<'u, 'd> unsafe fn(&'u Umem, &'d FrameDesc) -> Data<'u> = Umem::data;
    type FrameMut = for<'u> unsafe fn(&'u Umem, &'u mut FrameDesc) -> (HeadroomMut<'u>, DataMut<'u>);
    let _: FrameMut = Umem::frame_mut;
    let _: for<'u> unsafe fn(&'u Umem, &'u mut FrameDesc) -> HeadroomMut<'u> = Umem::headroom_mut;
    let _: for<'u> unsafe fn(&'u Umem, &'u mut FrameDesc) -> DataMut<'u> = Umem::data_mut;

    let _: fn(&SegmentLengths) -> usize = SegmentLengths::headroom;
    let _: fn(&SegmentLengths) -> usize = SegmentLengths::data;
    let _: fn(&FrameDesc) -> usize = FrameDesc::addr;
    let _: fn(&FrameDesc) -> &SegmentLengths = FrameDesc::lengths;
    let _: fn(&FrameDesc) -> u32 = FrameDesc::options;
    let _: fn(&mut FrameDesc, u32) = FrameDesc::set_options;
    let _: fn(&FrameDesc) -> bool = FrameDesc::has_more_frames;
    let _: for<'a> fn(&'a Headroom<'static>) -> &'a [u8] = Headroom::contents;
    let _: for<'a> fn(&'a Data<'static>) -> &'static [u8] = Data::contents;
    let _: for<'a> fn(&'a HeadroomMut<'static>) -> &'a [u8] = HeadroomMut::contents;
    let _: for<'a> fn(&'a mut HeadroomMut<'static>) -> &'a mut [u8] = HeadroomMut::contents_mut;
    let _: for<'a> fn(&'a mut HeadroomMut<'static>) -> Cursor<'a> = HeadroomMut::cursor;
    let _: for<'a> fn(&'a DataMut<'static>) -> &'a [u8] = DataMut::contents;
    let _: for<'a> fn(&'a mut DataMut<'static>) -> &'a mut [u8] = DataMut::contents_mut;
    let _: for<'a> fn(&'a mut DataMut<'static>) -> Cursor<'a> = DataMut::cursor;
    let _: fn(&Cursor<'static>) -> usize = Cursor::pos;
    let _: fn(&mut Cursor<'static>, usize) = Cursor::set_pos;
    let _: fn(&mut Cursor<'static>) -> usize = Cursor::buf_len;
    let _: fn(&mut Cursor<'static>) = Cursor::zero_out;

    type NewSocket = unsafe fn(
        SocketConfig,
        &Umem,
        &Interface,
        u32,
    ) -> Result<(TxQueue, RxQueue, Rings), SocketCreateError>;
    let _: NewSocket = Socket::new;
    let _: fn(&Socket) -> Socket = Socket::clone;

    let _: unsafe fn(&mut FillQueue, &[FrameDesc]) -> usize = FillQueue::produce;
    let _: unsafe fn(&mut FillQueue, &FrameDesc) -> usize = FillQueue::produce_one;
    type Wake<T> = unsafe fn(&mut FillQueue, T, &mut Fd, i32) -> io::Result<usize>;
    let _: Wake<&'static [FrameDesc]> = FillQueue::produce_and_wakeup;
    let _: Wake<&'static FrameDesc> = FillQueue::produce_one_and_wakeup;
    let _: fn(&mut FillQueue, u32) -> u32 = FillQueue::nb_free;
    let _: fn(&mut FillQueue) -> u32 = FillQueue::nb_free_exact;
    let _: fn(&FillQueue, &mut Fd, i32) -> io::Result<()> = FillQueue::wakeup;
    let _: fn(&FillQueue) -> bool = FillQueue::needs_wakeup;
    let _: unsafe fn(&mut CompQueue, &mut [FrameDesc]) -> usize = CompQueue::consume;
    let _: unsafe fn(&mut CompQueue, &mut FrameDesc) -> usize = CompQueue::consume_one;
    let _: fn(&mut CompQueue, u32) -> u32 = CompQueue::nb_avail;
    let _: fn(&mut CompQueue) -> u32 = CompQueue::nb_avail_exact;

    let _: unsafe fn(&mut RxQueue, &mut [FrameDesc]) -> usize = RxQueue::consume;
    let _: unsafe fn(&mut RxQueue, &mut FrameDesc) -> usize = RxQueue::consume_one;
    let _: unsafe fn(&mut RxQueue, &mut [FrameDesc], i32) -> io::Result<usize> = RxQueue::poll_and_consume;
    let _: unsafe fn(&mut RxQueue, &mut FrameDesc, i32) -> io::Result<usize> = RxQueue::poll_and_consume_one;
    let _: fn(&mut RxQueue, u32) -> u32 = RxQueue::nb_avail;
    let _: fn(&mut RxQueue) -> u32 = RxQueue::nb_avail_exact;
    let _: fn(&mut RxQueue, i32) -> io::Result<bool> = RxQueue::poll;
    let _: fn(&RxQueue) -> &Fd = RxQueue::fd;
    let _: fn(&mut RxQueue) -> &mut Fd = RxQueue::fd_mut;

    let _: unsafe fn(&mut TxQueue, &[FrameDesc]) -> usize = TxQueue::produce;
    let _: unsafe fn(&mut TxQueue, &FrameDesc) -> usize = TxQueue::produce_one;
    let _: unsafe fn(&mut TxQueue, &[FrameDesc]) -> io::Result<usize> = TxQueue::produce_and_wakeup;
    let _: unsafe fn(&mut TxQueue, &FrameDesc) -> io::Result<usize> = TxQueue::produce_one_and_wakeup;
    let _: fn(&mut TxQueue, u32) -> u32 = TxQueue::nb_free;
    let _: fn(&mut TxQueue) -> u32 = TxQueue::nb_free_exact;
    let _: fn(&TxQueue) -> io::Result<()> = TxQueue::wakeup;
    let _: fn(&TxQueue) -> bool = TxQueue::needs_wakeup;
    let _: fn(&mut TxQueue, i32) -> io::Result<bool> = TxQueue::poll;
    let _: fn(&TxQueue) -> &Fd = TxQueue::fd;
    let _: fn(&mut TxQueue) -> &mut Fd = TxQueue::fd_mut;

    let _: fn(&Fd) -> io::Result<XdpStatistics> = Fd::xdp_statistics;
    let _: fn(&Fd) -> i32 = <Fd as AsRawFd>::as_raw_fd;
    let _: fn() -> XdpStatistics = XdpStatistics::default;
    for _counter in [
        XdpStatistics::rx_dropped as fn(&XdpStatistics) -> u64,
        XdpStatistics::rx_invalid_descs,
        XdpStatistics::tx_invalid_descs,
        XdpStatistics::rx_ring_full,
        XdpStatistics::rx_fill_ring_empty_descs,
        XdpStatistics::tx_ring_empty_descs,
    ] {}
}

/// Traits that programs rely on, and the other paths to the types.
#[allow(unused_qualifications)] // the paths are what is tested
pub(crate) fn traits() {
    fn error<T: Error + Send + Sync + Debug + 'static>() {}
    error::<QueueSizeError>();
    error::<FrameSizeError>();
    error::<UmemConfigBuilderError>();
    error::<UmemCreateError>();
    error::<SocketCreateError>();
    fn read<T: AsRef<[u8]> + Borrow<[u8]> + Deref<Target = [u8]> + Debug>() {}
    fn write<T: AsRef<[u8]> + AsMut<[u8]> + BorrowMut<[u8]> + DerefMut<Target = [u8]> + Debug>() {}
    read::<Headroom>();
    read::<Data>();
    write::<HeadroomMut>();
    write::<DataMut>();
    fn writer<T: Write + Debug>() {}
    writer::<Cursor>();
    fn plain<T: Copy + Default + Debug + Send + Sync + 'static>() {}
    plain::<FrameDesc>();
    plain::<SegmentLengths>();
    plain::<XdpStatistics>();
    plain::<UmemConfig>();
    plain::<SocketConfig>();
    plain::<UmemConfigBuilder>();
    plain::<SocketConfigBuilder>();
    fn queue<T: Debug + Send + 'static>() {}
    queue::<xsk_rs::umem::FillQueue>();
    queue::<xsk_rs::umem::CompQueue>();
    queue::<xsk_rs::socket::RxQueue>();
    queue::<xsk_rs::socket::TxQueue>();
    queue::<xsk_rs::socket::Fd>();
    fn shared<T: Clone + Debug + Send + Sync + 'static>() {}
    shared::<xsk_rs::umem::Umem>();
    shared::<xsk_rs::socket::Socket>();
    shared::<Interface>();
    let _: xsk_rs::umem::frame::FrameDesc = FrameDesc::default();
}
