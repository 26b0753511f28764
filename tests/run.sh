#!/usr/bin/env bash
# Sets the machine up, builds Vedette and passes its tests. Arguments go to `cargo test`.
# The peers (Prometheus, node_exporter …) come from Debian sid; VEDETTE_PEERS names a folder that has them already.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/setup.sh

vedette_setup
if [ -z "${VEDETTE_PEERS:-}" ]; then VEDETTE_PEERS=$(tests/peers.sh); fi
export VEDETTE_PEERS
vedette_say "building into $CARGO_TARGET_DIR (RocksDB alone takes some ten minutes on 2 cores, once)"
vedette_cargo build --workspace --bins
vedette_say "testing"
vedette_cargo test --workspace --no-fail-fast "$@"
