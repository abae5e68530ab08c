# What the checks need besides the Rust toolchain, and what of it is missing. Sourced by ci/setup, ci/test and others.
# shellcheck shell=bash

# Other systems that the portable crates are checked for; no linker is needed for that.
portable_targets=(aarch64-apple-darwin x86_64-pc-windows-gnu)
# Other processors that Linux runs on.
linux_targets=(aarch64-unknown-linux-gnu i686-unknown-linux-gnu)
# A target without an operating system.
bare_target=x86_64-unknown-none

have() {
    command -v "$1" >/dev/null 2>&1
}

# Debian's names of the packages without which nothing can be linked.
missing_to_link() {
    have cc || echo gcc libc6-dev
}

has_libclang() {
    local place
    for place in /usr/lib*/libclang /usr/lib*/*/libclang /usr/lib*/llvm*/lib*/libclang; do
        if compgen -G "$place.so*" >/dev/null || compgen -G "$place-[0-9]*.so*" >/dev/null; then
            return 0
        fi
    done
    return 1
}

# Debian's names of the packages that feature `libxdp` needs to build and that are not here. They are looked for by what
# they hold, so that other distributions' packages count.
missing_for_libxdp() {
    have make || echo make
    have clang || echo clang
    have llvm-strip || echo llvm
    have m4 || echo m4
    [ -n "${LIBCLANG_PATH:-}" ] || has_libclang || echo libclang-dev
    have pkg-config || echo pkg-config
    [ -e /usr/include/libelf.h ] || echo libelf-dev
    [ -e /usr/include/zlib.h ] || echo zlib1g-dev
    # For the headers of the machine, which a compiler for BPF does not look for in the machine's own directory.
    if [ "$(uname -m)" = x86_64 ] && [ ! -e /usr/include/asm/types.h ]; then
        echo gcc-multilib
    fi
}

# Debian's names of the packages that ci/instructions needs.
missing_to_count() {
    have valgrind || echo valgrind
}

# Debian's names of the packages that fuzzing needs: libFuzzer is C++.
missing_to_fuzz() {
    have c++ || echo g++
}

# The Rust targets that are not installed.
missing_targets() {
    local libraries target
    libraries=$(rustc --print sysroot)/lib/rustlib
    for target in "${portable_targets[@]}" "${linux_targets[@]}" "$bare_target"; do
        [ -d "$libraries/$target/lib" ] || echo "$target"
    done
}

is_root_on_debian() {
    [ "$(id -u)" = 0 ] && have apt-get
}

# apt_install PACKAGE...: as root on Debian.
apt_install() {
    # Something else may be installing at this moment.
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" update &&
        DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
}

# Why tests cannot have a network of their own here; nothing if they can.
why_no_network() {
    if [ "$(uname -s)" != Linux ]; then
        echo "AF_XDP is Linux only"
    elif [ "$(id -u)" != 0 ]; then
        echo "not root: run it with sudo"
    elif ! unshare --net true 2>/dev/null; then
        echo "root, but no network namespace can be made (a container without CAP_SYS_ADMIN?)"
    elif ! grep -q '^XDP ' /proc/net/protocols; then
        echo "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)"
    fi
}
