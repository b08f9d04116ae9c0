#!/bin/sh
# Holds exported ONNX models to two runtimes that nobody here wrote, ONNX Runtime and tract: random networks, and the front
# of a run. Then the other way round: networks of others come in, are morphed and go out.
#
#     tests/onnx/run.sh RUN
#
# RUN is the folder of a search on grey images. PYTHON names an interpreter that has onnx, onnxruntime, safetensors and pillow
# already; without it they are installed from PyPI into a virtual environment in target/.
set -eu
run=$(cd "${1:?usage: tests/onnx/run.sh RUN}" && pwd)
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "${PYTHON:-}" ]; then
    PYTHON=target/onnx-venv/bin/python
    [ -x "$PYTHON" ] || python3 -m venv target/onnx-venv
    "$PYTHON" -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 safetensors pillow
fi
cargo build --quiet --release --workspace --bins --examples
paretomorph=target/release/paretomorph
samples=target/release/examples/onnx_samples
tract="cargo run --quiet --release --manifest-path tests/onnx/tract/Cargo.toml --target-dir target/onnx-tract --"

check() {
    "$PYTHON" tests/onnx/check.py "$1"
    $tract "$1"
}

"$samples" "$work/random" "${COUNT:-200}" 1
check "$work/random"
"$paretomorph" export "$run" --front "$work/front"
"$samples" "$work/models" "$work"/front/network-*/
check "$work/models"
"$PYTHON" tests/onnx/deploy.py "$paretomorph" "$run" "$work/deployed"
# The program in docs/deploy.md compiles.
cargo test --quiet --release --doc --manifest-path tests/onnx/tract/Cargo.toml --target-dir target/onnx-tract
"$PYTHON" tests/onnx/zoo.py "$paretomorph" "$work/zoo"
