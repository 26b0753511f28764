#!/usr/bin/env bash
# Makes Debian packages of both programs: packaging/build-deb.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/setup.sh
. packaging/stage.sh

stage_options "$@"
vedette_setup
vedette_packages dpkg-dev xz-utils
stage_tool cargo-deb 3.8.0
for program in "${stage_programs[@]}"; do
    stage_program "$program"
    arguments=(--quiet --package "vedette-$program" --profile "$(stage_profile_of "$program")" --no-build --no-strip --locked)
    # The system's xz: the tool's own is not optimised.
    arguments+=(--compress-system --deb-version "$stage_version-1" --output "$stage_output/")
    [ -z "$stage_fast" ] || arguments+=(--fast)
    [ -z "$stage_target" ] || arguments+=(--target "$stage_target")
    "$vedette_cache/tools/bin/cargo-deb" "${arguments[@]}"
done
