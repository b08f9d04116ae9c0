#!/bin/sh
# Where the time of a search goes, as a table: benches/profile.sh [ARGUMENTS OF search]
#
# Needs Linux, perf and python3. Names of generic functions tell their types only in Rust's newer mangling, so our three
# crates are built once more with it; `cargo build --release` afterwards brings the usual program back.
set -eu
cd "$(dirname "$0")/.."
mkdir -p target/profile
wrapper=$PWD/target/profile/rustc
printf '#!/bin/sh\nexec "$@" -C symbol-mangling-version=v0\n' >"$wrapper"
chmod +x "$wrapper"
RUSTC_WORKSPACE_WRAPPER=$wrapper cargo build --release
rm -rf target/profile/run
perf record --quiet --freq 199 --output target/profile/perf.data -- \
    target/release/paretomorph search --out target/profile/run "$@"
perf report --input target/profile/perf.data --no-children --sort symbol --stdio 2>/dev/null | python3 benches/profile.py
