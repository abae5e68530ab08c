//! The program beside others on one interface, by libxdp's dispatcher.
#![cfg(target_os = "linux")]

#[cfg(feature = "libxdp")]
mod others;

use xsk::config::{Attach, BindFlags, SocketConfig, XdpFlags};

fn dispatched(mode: XdpFlags) -> SocketConfig {
    SocketConfig::builder().xdp_flags(mode).bind_flags(BindFlags::XDP_COPY).attach(Attach::Dispatcher).build()
}

#[cfg(not(feature = "libxdp"))]
#[test]
fn without_the_feature_there_is_no_dispatcher() {
    use xsk::error::Diagnosis;
    use xsk_veth::{Namespace, VethPair};

    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let pair = VethPair::builder(&ns, &ns).build().unwrap();
    let (umem, _) = xsk_tests::umem(1);
    let config = dispatched(XdpFlags::empty());
    let error = ns.run(|| xsk_tests::try_open(&umem, config, pair.b.name(), 0)).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::NoFeature("libxdp"));
    assert_eq!(
        error.to_string(),
        "cannot attach the XDP program on b queue 0: this build of the crate has no feature `libxdp`"
    );
}

#[cfg(feature = "libxdp")]
#[path = "dispatcher/with_the_feature.rs"]
mod with_the_feature;
