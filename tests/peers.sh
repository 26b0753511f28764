#!/usr/bin/env bash
# The programs that Vedette is compared with, from Debian sid: unpacked into a cache folder, never installed.
# Prints the folder with their binaries. Needs root (or sudo) the first time, to add sid as a source that is
# pinned so low that nothing is ever upgraded from it.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/setup.sh

peers="$vedette_cache/peers"
packages=(prometheus promtool prometheus-node-exporter prometheus-alertmanager victoria-metrics)

# Downloads packages of sid into the working folder.
download_from_sid() {
    vedette_packages ca-certificates
    local suite=/etc/apt/sources.list.d/vedette-sid.list
    if [ ! -e "$suite" ]; then
        vedette_say "adding Debian sid as a source of last resort (pinned to 1) for: $*"
        # Ubuntu ships Debian's keys in this package.
        [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || vedette_packages debian-archive-keyring
        vedette_as_root sh -c "printf 'Package: *\nPin: release n=sid\nPin-Priority: 1\n' >/etc/apt/preferences.d/vedette-sid
            echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' >$suite"
    fi
    vedette_as_root apt-get update -qq >&2
    local package
    for package in "$@"; do apt-get download -qq "$package/sid" >&2; done
}

if [ ! -e "$peers/complete" ]; then
    rm -rf "$peers"
    mkdir -p "$peers/packages"
    (cd "$peers/packages" && download_from_sid "${packages[@]}")
    for package in "$peers"/packages/*.deb; do dpkg -x "$package" "$peers/root"; done
    rm -rf "$peers/packages"
    touch "$peers/complete"
fi
# The load balancer of packaging/compose, from the release that the machine has.
if [ ! -e "$peers/root/usr/bin/nginx" ]; then
    rm -rf "$peers/nginx"
    mkdir -p "$peers/nginx"
    vedette_packages libpcre2-8-0 libssl3 zlib1g
    (cd "$peers/nginx" && apt-get download -qq nginx >&2 && dpkg -x nginx_*.deb root)
    mv "$peers/nginx/root/usr/sbin/nginx" "$peers/root/usr/bin/nginx"
    rm -rf "$peers/nginx"
fi
# Reads packaging/compose without a daemon.
if [ ! -e "$peers/root/usr/bin/docker-compose" ]; then
    rm -rf "$peers/compose"
    mkdir -p "$peers/compose"
    (cd "$peers/compose" && download_from_sid docker-compose && dpkg -x docker-compose_*.deb root)
    mv "$peers/compose/root/usr/libexec/docker/cli-plugins/docker-compose" "$peers/root/usr/bin/docker-compose"
    rm -rf "$peers/compose"
fi
echo "$peers/root/usr/bin"
