#!/usr/bin/env bash
# Makes rpm packages of both programs: packaging/build-rpm.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/setup.sh
. packaging/stage.sh

stage_options "$@"
vedette_setup
stage_tool cargo-generate-rpm 0.21.1
for program in "${stage_programs[@]}"; do
    stage_program "$program"
    arguments=(--package "$program" --profile "$(stage_profile_of "$program")" --target-dir "$CARGO_TARGET_DIR")
    arguments+=(--set-metadata "version = \"$stage_version\"" --output "$stage_output/")
    [ -z "$stage_fast" ] || arguments+=(--payload-compress none)
    if [ -n "$stage_target" ]; then
        # Which libraries it needs is asked of the program itself, which does not run here.
        arguments+=(--target "$stage_target" --auto-req disabled)
    fi
    "$vedette_cache/tools/bin/cargo-generate-rpm" generate-rpm "${arguments[@]}"
    ls "$stage_output/vedette-$program-$stage_version-"*.rpm
done
