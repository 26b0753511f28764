#!/usr/bin/env bash
# A Debian 12 that packages are installed on, made by debootstrap in the cache. Prints its folder. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/setup.sh

image="$vedette_cache/debian-12"
if [ ! -e "$image/complete" ]; then
    vedette_packages debootstrap debian-archive-keyring
    vedette_say "making a Debian 12 to install packages on"
    rm -rf "$image"
    mkdir -p "$image"
    vedette_as_root debootstrap --variant=minbase --include=dbus,init,procps,systemd,systemd-sysv \
        bookworm "$image/root" http://deb.debian.org/debian >"$image/log" 2>&1 || {
        tail -n 5 "$image/log" >&2
        vedette_fail "debootstrap failed"
    }
    vedette_as_root rm -rf "$image/root/etc/machine-id" "$image/root/var/cache/apt/archives" "$image/root/var/lib/apt/lists"
    touch "$image/complete"
fi
echo "$image/root"
