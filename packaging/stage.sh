# What packages are made of, whatever their format. Sourced by packaging/build-deb.sh and packaging/build-rpm.sh, after
# packaging/setup.sh, with the same options:
#
#   --profile PROFILE   Cargo's profile of both programs; else `agent` for the agent and `release` for the aggregator
#   --target TRIPLE     for another architecture, such as aarch64-unknown-linux-gnu, where its compiler and linker are
#   --version VERSION   the package's and the program's version; else that of Cargo.toml
#   --output FOLDER     where packages go, by the checkout when relative; else the folder `packages` beside Cargo's output
#   --fast              compress less
#   --no-build          take programs that are built already
#   agent, aggregator   which packages; else both

stage_profile='' stage_target='' stage_version='' stage_output='' stage_build=1 stage_fast='' stage_programs=()

stage_options() {
    while [ $# -gt 0 ]; do
        case "$1" in
        --profile | --target | --version | --output)
            [ $# -ge 2 ] || stage_usage "$1 needs a value"
            printf -v "stage_${1#--}" %s "$2"
            shift
            ;;
        --fast) stage_fast=1 ;;
        --no-build) stage_build='' ;;
        agent | aggregator) stage_programs+=("$1") ;;
        -h | --help) sed -n '4,11s/^# \{0,1\}//p' packaging/stage.sh; exit 0 ;;
        *) stage_usage "unknown argument $1" ;;
        esac
        shift
    done
    [ ${#stage_programs[@]} -gt 0 ] || stage_programs=(agent aggregator)
    # The program is of that version as well; what is built already has to be.
    if [ -n "$stage_version" ]; then export VEDETTE_VERSION="$stage_version"; else unset VEDETTE_VERSION; fi
    [ -n "$stage_version" ] || stage_version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    [ -n "$stage_output" ] || stage_output="$CARGO_TARGET_DIR/packages"
    mkdir -p "$stage_output"
    # Every time in a package is that of the commit, so that packages of a commit are alike.
    SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
    export SOURCE_DATE_EPOCH
    # Two at once would stage over each other.
    exec 9>"$CARGO_TARGET_DIR/package.lock"
    flock 9
}

stage_usage() { printf 'error: %s (try --help)\n' "$1" >&2; exit 2; }

# A tool from crates.io, in the cache. Hardly optimised: more takes longer than it is worth.
stage_tool() {
    local name=$1 version=$2
    grep -q "^\"$name $version " "$vedette_cache/tools/.crates.toml" 2>/dev/null && return
    vedette_say "installing $name $version"
    CARGO_TARGET_DIR="$vedette_cache/tools/target" CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 \
        cargo install --quiet --locked --debug --root "$vedette_cache/tools" "$name@$version"
}

# The profile of a program, and the folder of what is built with it.
stage_profile_of() {
    if [ -n "$stage_profile" ]; then echo "$stage_profile"; elif [ "$1" = agent ]; then echo agent; else echo release; fi
}
stage_folder_of() {
    local profile
    profile=$(stage_profile_of "$1")
    [ "$profile" != dev ] || profile=debug
    echo "$CARGO_TARGET_DIR${stage_target:+/$stage_target}/$profile"
}

# Compiles a program. No path of this machine is in it, so that another gets the same bytes. The profile that tests have
# is left as it is: other flags would compile RocksDB again.
stage_compile() {
    local program=$1 profile
    profile=$(stage_profile_of "$program")
    local arguments=(--locked --package "vedette-$program" --bin "vedette-$program" --profile "$profile")
    [ -z "$stage_target" ] || { stage_cross && arguments+=(--target "$stage_target"); }
    if [ "$profile" != dev ]; then
        local cargo_home="${CARGO_HOME:-$HOME/.cargo}" rust_flags static
        CFLAGS="-ffile-prefix-map=$PWD=/vedette -ffile-prefix-map=$cargo_home/registry/src=/crates -ffile-prefix-map=$CARGO_TARGET_DIR=/target"
        export CFLAGS CXXFLAGS="$CFLAGS"
        # As configuration, which is added to that of .cargo/config.toml: the variable RUSTFLAGS would take its place.
        unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
        printf -v rust_flags '"%s",' "--remap-path-prefix=$PWD=/vedette" \
            "--remap-path-prefix=$cargo_home/registry/src=/crates" "--remap-path-prefix=$CARGO_TARGET_DIR=/target"
        # RocksDB's C++ library goes into the program, which then runs where a distribution has an older one.
        if [ "$program" = aggregator ]; then
            static=$(stage_static_library)
            rust_flags+="\"-Lnative=$static\","
        fi
        arguments+=(--config "target.'cfg(all())'.rustflags=[$rust_flags]")
    fi
    vedette_say "building vedette-$program ($profile)"
    VEDETTE_REVISION="${VEDETTE_REVISION-$(git rev-parse --short=12 HEAD)}" cargo build "${arguments[@]}"
}

# A folder in which the linker finds the C++ library to link statically before it looks elsewhere: a script that names the
# library, and arc4random.c, without which it needs a newer glibc than the program does.
stage_static_library() {
    local compiler=cc library folder="$CARGO_TARGET_DIR/static${stage_target:+-$stage_target}"
    [ -z "$stage_target" ] || compiler="${stage_target/-unknown/}-gcc"
    library=$("$compiler" -print-file-name=libstdc++.a)
    [ -f "$library" ] ||
        vedette_fail "$compiler has no libstdc++.a: Debian has it with g++, Fedora and RHEL as libstdc++-static"
    rm -rf "$folder"
    mkdir -p "$folder"
    "$compiler" -O2 -fPIC -c packaging/arc4random.c -o "$folder/arc4random.o"
    printf 'INPUT("%s" "%s")\n' "$library" "$folder/arc4random.o" >"$folder/libstdc++.a"
    echo "$folder"
}

# Finds what compiles for another architecture: Rust's library for it, and a C compiler that also links.
stage_cross() {
    local compiler="${stage_target/-unknown/}-gcc" variable
    command -v "$compiler" >/dev/null ||
        vedette_fail "there is no $compiler for $stage_target: Debian has it as gcc-${stage_target%%-*}-linux-gnu and g++-${stage_target%%-*}-linux-gnu"
    [ -d "$(rustc --print sysroot)/lib/rustlib/$stage_target/lib" ] ||
        vedette_fail "Rust's library for $stage_target is missing: rustup target add $stage_target"
    variable="CARGO_TARGET_$(tr a-z- A-Z_ <<<"$stage_target")_LINKER"
    export "$variable=$compiler"
}

# Puts what the package of a program contains into the folder `package/PROGRAM` beside the program.
stage_program() {
    local program=$1 folder stage
    [ -z "$stage_build" ] || (stage_compile "$program")
    folder=$(stage_folder_of "$program")
    stage="$folder/package/$program"
    [ -x "$folder/vedette-$program" ] || vedette_fail "$folder/vedette-$program is missing: leave --no-build out"
    rm -rf "$stage"
    mkdir -p "$stage/completions" "$stage/man" "$stage/doc"
    local strip=strip
    [ -z "$stage_target" ] || strip="${stage_target/-unknown/}-strip"
    "$strip" --strip-all --remove-section=.comment -o "$stage/vedette-$program" "$folder/vedette-$program"
    stage_manual
    cp -r "$CARGO_TARGET_DIR/manual/$program/." "$stage/"
    gzip -9nc packaging/CHANGELOG.md >"$stage/doc/changelog.gz"
    stage_debian_changelog "$program" | gzip -9nc >"$stage/doc/changelog.Debian.gz"
    gzip -9n "$stage"/man/*
    gzip -9nc "$stage/THIRD-PARTY-NOTICES" >"$stage/doc/THIRD-PARTY-NOTICES.gz"
    mkdir "$stage/source"
    cp --parents --target-directory="$stage/source" LICENSE "packaging/$program.yml" systemd/restart-backoff \
        "systemd/vedette-$program.service" systemd/{sysusers,tmpfiles}.d/"vedette-$program.conf"
    # An rpm has the times of its files, and those of a checkout are its own.
    find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    vedette_say "vedette-$program is $(stat -c %s "$stage/vedette-$program" | numfmt --to=si --format=%.2f)B, stripped"
}

# Manual pages, completions and notices come from a program of this machine, whatever is packaged.
stage_manual() {
    local manual="$CARGO_TARGET_DIR/debug/vedette-manual"
    [ -z "$stage_build" ] && [ -x "$manual" ] || cargo build --quiet --locked --package vedette-manual
    rm -rf "$CARGO_TARGET_DIR/manual"
    "$manual" ${stage_target:+--target "$stage_target"} "$CARGO_TARGET_DIR/manual"
}

stage_debian_changelog() {
    cat <<TXT
vedette-$1 ($stage_version-1) unstable; urgency=medium

  * What has changed is told in changelog.gz in this folder.

 -- Vedette maintainers <maintainers@vedette.example>  $(date -uRd "@$SOURCE_DATE_EPOCH")
TXT
}
