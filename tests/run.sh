#!/usr/bin/env bash
# Sets the machine up, builds Vedette and passes its tests. Arguments go to `cargo test`.
# The peers (Prometheus, node_exporter …) come from Debian sid; VEDETTE_PEERS names a folder that has them already,
# as VEDETTE_IMAGE does for the Debian 12 that the packages are installed on. VEDETTE_PACKAGES names a folder of packages
# to install there (`--test install`), such as those for a release; else they are made of the programs of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/setup.sh

vedette_setup
if [ -z "${VEDETTE_PEERS:-}" ]; then VEDETTE_PEERS=$(tests/peers.sh); fi
# A Debian to install packages on, what makes and checks packages, and the shells that complete.
vedette_packages dpkg-dev fish lintian rpm rpmlint systemd-container xz-utils zsh
if [ -z "${VEDETTE_IMAGE:-}" ]; then VEDETTE_IMAGE=$(tests/install/image.sh); fi
export VEDETTE_PEERS VEDETTE_IMAGE
vedette_say "building into $CARGO_TARGET_DIR (RocksDB alone takes some ten minutes on 2 cores, once)"
vedette_cargo build --workspace --bins
vedette_say "testing"
vedette_cargo test --workspace --no-fail-fast "$@"
