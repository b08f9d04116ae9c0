#!/usr/bin/env bash
# Whether the tests of this crate catch what could plausibly be wrong: puts each bug of tests/seeded-bugs into a copy of the
# working tree, runs a short suite there and prints who caught it. Fails if a bug survives.
#
#   morphisms/tests/seeded-bugs.sh            all bugs
#   morphisms/tests/seeded-bugs.sh NAME...    some of them
#
# The working tree is only read.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The least that catches every bug.
export PROPTEST_CASES=${PROPTEST_CASES:-8}
# Who failed is what counts, not on what.
export PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1
# Properties of other things: files, costs, fingerprints, and whether the random networks are various enough.
skip=(--skip hostile:: --skip cost:: --skip identity:: --skip coverage:: --skip strategies::)
suite=(--release --quiet --package morphisms --lib --test surgery --test properties --no-fail-fast)
# Built anew for every bug: less optimised, in a third of the time.
suite+=(--config profile.release.package.morphisms.opt-level=1)
# A bug can make a loop endless.
limit=300

target=${CARGO_TARGET_DIR:-$PWD/target}
bugs=$PWD/morphisms/tests/seeded-bugs
copy=$target/seeded-bugs/tree
# Not the build folder itself: Cargo would take what is built from a bug for what is built from the working tree, whose
# packages have the same names and older files. Started from a copy of it, so that no dependency is built a second time.
export CARGO_TARGET_DIR=$target/seeded-bugs/build
if [ -d "$target/release" ] && ! [ -d "$CARGO_TARGET_DIR" ]; then
    mkdir -p "$CARGO_TARGET_DIR/release"
    cp -a "$target"/release/{deps,build,.fingerprint} "$CARGO_TARGET_DIR/release"
fi
# `git apply` takes the copy for a folder of its own.
export GIT_CEILING_DIRECTORIES=$target/seeded-bugs

# With the old times, also those of folders, so that only what changed is built.
rm -rf "$copy"
mkdir -p "$copy"
tar --create --exclude=./{target,runs,.git,.venv} --exclude=./morphisms/fuzz/{target,corpus,artifacts} . | tar --extract --directory "$copy"
cd "$copy"
# What is built may be what the last run ended with.
find morphisms/src -name '*.rs' -exec touch {} +

# The names of the tests that fail, one a line.
failures() {
    local status=0
    timeout "$limit" cargo test "${suite[@]}" -- "${skip[@]}" >"$copy/output" 2>&1 || status=$?
    if [ "$status" = 124 ]; then
        echo "the limit of $limit s"
    elif [ "$status" != 0 ]; then
        sed -n 's/^    \([a-z_:0-9]*\)$/\1/p' "$copy/output" | sort -u | grep . || echo "a crash"
    fi
}

builds() { cargo test "${suite[@]}" --no-run >"$copy/output" 2>&1; }

give_up() {
    echo "$1" >&2
    tail -n 20 "$copy/output" >&2
    exit 2
}

# `a, b and 3 more`
listed() {
    local names=("$@") rest=$(($# - 2))
    printf '%s' "${names[0]-}${names[1]+, ${names[1]}}"
    [ "$rest" -le 0 ] || printf ' and %s more' "$rest"
}

builds || give_up "the tests do not build without a bug"
start=$SECONDS
caught=$(failures)
[ -z "$caught" ] || give_up "tests fail without a bug: $caught"
echo "No bug: all tests pass in $((SECONDS - start)) s."
echo
printf '| %-32s | %-76s | %s |\n' bug "caught by" seconds
echo "|---|---|---|"

survivors=0
[ $# -gt 0 ] || set -- "$bugs"/*.patch
for bug in "$@"; do
    bug=$(basename "$bug" .patch)
    git apply "$bugs/$bug.patch"
    builds || give_up "$bug does not build"
    start=$SECONDS
    mapfile -t caught < <(failures)
    [ ${#caught[@]} -gt 0 ] || survivors=$((survivors + 1))
    names=$([ ${#caught[@]} -gt 0 ] && listed "${caught[@]}" || echo "**nobody**")
    printf '| %-32s | %-76s | %s |\n' "$bug" "$names" "$((SECONDS - start))"
    git apply --reverse "$bugs/$bug.patch"
done
echo
echo "$survivors of $# survive."
[ "$survivors" = 0 ]
