# Sourced by the other scripts: where things are built, and installing what a fresh Debian machine lacks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Outside the checkout, so that a fresh clone does not build everything again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sealkv/target}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

say() { printf '%s\n' "$*" >&2; }

# need COMMAND PACKAGE...: installs the packages if the command is not there.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null 2>&1 && return 0
    install_packages "$@"
}

# need_file PATTERN PACKAGE...: the same, for something that is a file.
need_file() {
    local pattern=$1
    shift
    compgen -G "$pattern" >/dev/null && return 0
    install_packages "$@"
}

install_packages() {
    if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
        say "missing: $* (install it, or run this as root on Debian)"
        exit 1
    fi
    say "installing: $*"
    if [ -z "${PACKAGES_UPDATED:-}" ]; then
        apt-get update -qq >&2
        PACKAGES_UPDATED=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# A Rust toolchain, which is not installed here.
need_rust() {
    command -v cargo >/dev/null 2>&1 && return 0
    say "missing: a Rust toolchain (cargo, rustc $(grep -m1 rust-version Cargo.toml | tr -dc '0-9.') or newer)"
    exit 1
}

# What building needs: a Rust toolchain, a C++ compiler, clang for RocksDB's bindings, and RocksDB.
need_build_tools() {
    need_rust
    need c++ g++
    need clang clang
    need_file '/usr/lib/llvm-*/lib/libclang*.so*' libclang-dev
    take_rocksdb
}

# RocksDB comes as an archive that scripts/rocksdb makes once: in half the time of the crate's own way, and for all target
# directories. Whoever sets ROCKSDB_LIB_DIR or ROCKSDB_COMPILE=1 decides otherwise; on other systems the crate compiles it.
take_rocksdb() {
    [ -z "${ROCKSDB_LIB_DIR:-}${ROCKSDB_COMPILE:-}" ] && [ "$(uname -sm)" = "Linux x86_64" ] || return 0
    local status=0
    ROCKSDB_LIB_DIR="$(scripts/rocksdb)" || status=$?
    if [ "$status" = 0 ]; then
        export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
    elif [ "$status" -gt 128 ] || [ -n "${CI:-}" ]; then
        exit "$status"
    else
        unset ROCKSDB_LIB_DIR
        say "without the archive RocksDB is compiled by its crate, which takes ten to twenty minutes on two cores"
    fi
}

# built NAME CARGO-ARGUMENTS...: runs cargo, and prints the path of the binary of tests or benches of that name. What cargo says
# goes on; not to /dev/stderr, which cuts off a file.
built() {
    local name=$1
    shift
    cargo "$@" 2>&1 | tee >(cat >&2) | sed -n "s/.*(\(.*\/$name-[0-9a-f]*\)).*/\1/p" | tail -1
}

# Sets `sealkv` to the node's binary: SEALKV_BINARY, or what is built now.
have_node() {
    need_rust
    sealkv=${SEALKV_BINARY:-$(scripts/build)}
    # The node takes no setting of that name.
    unset SEALKV_BINARY
}
