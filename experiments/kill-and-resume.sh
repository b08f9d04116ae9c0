#!/usr/bin/env bash
# A search that is killed with SIGKILL at random moments, and resumed each time with 1 and 2 workers in turn, must end
# with the front of an undisturbed one: ids, objectives, architectures and weights, bit for bit.
#
#     experiments/kill-and-resume.sh [KILLS] [SEED] [BUDGET]
#
# Status 0 if every killed search ended the same, 1 if one did not.
set -euo pipefail
cd "$(dirname "$0")/.."

KILLS=${1:-20}
RANDOM=${2:-1}
BUDGET=${3:-40evals}

cargo build --release --workspace --quiet
PROGRAM=${CARGO_TARGET_DIR:-target}/release/paretomorph
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT

now() { date +%s%3N; } # milliseconds

# The front as JSON, then the bytes of each member's weights.
fingerprints() {
    "$PROGRAM" front "$1" --json
    "$PROGRAM" front "$1" --json | sed -n 's/^ *"weights": "\(.*\)",$/\1/p' | while read -r hash; do
        sha256sum <"$1/weights/$hash.safetensors"
    done
}

# Resumes a run, or starts it where it was killed before there was one. Replaces the shell.
go_on() {
    if [ -e "$1/run.sqlite" ]; then
        exec "$PROGRAM" resume "$1" --workers "$2" --quiet >/dev/null
    fi
    exec "$PROGRAM" search --budget "$BUDGET" --workers "$2" --out "$1" --quiet >/dev/null
}

begun=$(now)
"$PROGRAM" search --budget "$BUDGET" --workers 2 --out "$FOLDER/whole" --quiet >/dev/null
whole=$(($(now) - begun))
fingerprints "$FOLDER/whole" >"$FOLDER/expected"
echo "undisturbed: $BUDGET in $whole ms, $(grep -c '^    "id":' "$FOLDER/expected") networks on the front"

# A search must outlive its kills: each takes an epoch at most of every child in training, and the start of a process.
longest=$((whole * 2 / (KILLS + 4)))
kills=0 searches=0 different=0
while ((kills < KILLS)); do
    searches=$((searches + 1))
    run=$FOLDER/killed-$searches
    while ((kills < KILLS)); do
        workers=$((1 + kills % 2))
        # Two draws, because RANDOM ends at 32767.
        delay=$(((RANDOM * 32768 + RANDOM) % longest))
        go_on "$run" $workers &
        process=$!
        sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
        kill -KILL $process 2>/dev/null || true
        # 137: ended by SIGKILL; anything else: it had ended by itself.
        wait $process 2>/dev/null && status=0 || status=$?
        ((status == 137)) || break
        kills=$((kills + 1))
        trained=$("$PROGRAM" front "$run" 2>/dev/null | sed -n 's/^\([0-9]*\) networks trained.*/\1/p' || true)
        printf 'kill %2d: %d worker(s), after %5d ms, %s networks committed\n' \
            $kills $workers "$delay" "${trained:-0}"
    done
    (go_on "$run" 2)
    fingerprints "$run" >"$FOLDER/found"
    if cmp --silent "$FOLDER/expected" "$FOLDER/found"; then
        echo "search $searches: the same front, bit for bit"
    else
        different=$((different + 1))
        echo "search $searches: DIFFERENT"
        diff "$FOLDER/expected" "$FOLDER/found" | head -20
    fi
done

if ((different > 0)); then
    echo "VERDICT: $different of $searches searches ended differently after $kills kills"
    exit 1
fi
echo "VERDICT: the same front, weights included, after $kills kills in $searches search(es)"
