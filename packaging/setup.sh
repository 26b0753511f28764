#!/usr/bin/env bash
# What a fresh Debian or Ubuntu machine needs to build Vedette. Sourced by packaging/quickstart.sh, tests/run.sh
# and .ci/run; does nothing where everything is there. Sets CARGO_TARGET_DIR to a cache outside the checkout, so that
# RocksDB, which compiles for minutes, compiles once.

vedette_cache="${VEDETTE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vedette}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$vedette_cache/target}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
mkdir -p "$vedette_cache" "$CARGO_TARGET_DIR"

vedette_say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
vedette_fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command as root: as it is, or through sudo.
vedette_as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        vedette_fail "needs root for: $* (run as root, or install sudo)"
    fi
}

# Installs those of the named Debian packages that are missing.
vedette_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || vedette_fail "needs these packages, and there is no apt-get: ${missing[*]}"
    vedette_say "installing packages: ${missing[*]}"
    vedette_as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    vedette_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The compiler that Cargo.toml asks for, by rustup where it is missing or too old.
vedette_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    have=$(rustc --version 2>/dev/null | awk '{print $2}')
    if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ]; then return; fi
    if command -v rustup >/dev/null; then
        vedette_say "Rust ${have:-is missing}; updating to at least $wanted with rustup"
        rustup toolchain install stable --profile minimal --component clippy --component rustfmt
        rustup default stable
    else
        vedette_say "Rust ${have:-is missing}; installing the stable toolchain for this user with rustup"
        vedette_packages curl ca-certificates
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --profile minimal --component clippy --component rustfmt --no-modify-path
        . "$HOME/.cargo/env"
    fi
}

# Says how far RocksDB's compilation is, twice a minute: Cargo shows one line for all of it.
vedette_progress() {
    local total=343 built
    while sleep 30; do
        built=$(find "$CARGO_TARGET_DIR" -path '*librocksdb-sys*' -name '*.o' 2>/dev/null | wc -l)
        [ "$built" -ge "$total" ] && return
        [ "$built" -gt 0 ] && vedette_say "RocksDB: $built of about $total files compiled (only this once)"
    done
}

# cargo, with that progress while RocksDB has not been built in this profile.
vedette_cargo() {
    local progress='' status=0
    if ! compgen -G "$CARGO_TARGET_DIR/debug/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
        vedette_progress &
        progress=$!
    fi
    cargo "$@" || status=$?
    [ -z "$progress" ] || { pkill -P "$progress" 2>/dev/null || true; kill "$progress" 2>/dev/null || true; }
    return "$status"
}

vedette_setup() {
    vedette_packages build-essential clang libclang-dev pkg-config curl ca-certificates procps iproute2
    vedette_rust
}
