//! Builds the C side of the comparison with libxdp, with feature `peers`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "peers")]
    peers::build();
}

#[cfg(feature = "peers")]
mod peers {
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    const SOURCE: &str = "src/peers/libxdp.c";

    pub(crate) fn build() {
        println!("cargo::rerun-if-changed={SOURCE}");
        let bpf = env::var("DEP_BPF_INCLUDE").expect("libbpf-sys says where its headers are");
        cc::Build::new()
            .file(SOURCE)
            .include(headers_of_libxdp())
            .include(bpf)
            .warnings(true)
            // The compiler's best, as for Rust code here.
            .opt_level(3)
            .compile("xsk_benches_libxdp");
    }

    /// libxdp-sys does not say where its headers are: they are in its sources.
    fn headers_of_libxdp() -> PathBuf {
        let cargo = env::var_os("CARGO").expect("cargo sets it");
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--features=peers"])
            .output()
            .expect("cargo metadata");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let packages = metadata["packages"].as_array().expect("packages");
        let package = packages.iter().find(|package| package["name"] == "libxdp-sys").expect("libxdp-sys");
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        manifest.with_file_name("xdp-tools/headers")
    }
}
