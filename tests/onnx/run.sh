#!/bin/sh
# Holds exported ONNX models to two runtimes that nobody here wrote, ONNX Runtime and tract: random networks, and, if a run
# folder is given, its front.
#
#     tests/onnx/run.sh [RUN]
#
# PYTHON names an interpreter that has onnx, onnxruntime and safetensors already; without it they are installed from PyPI into
# a virtual environment in target/.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "${PYTHON:-}" ]; then
    PYTHON=target/onnx-venv/bin/python
    [ -x "$PYTHON" ] || python3 -m venv target/onnx-venv
    "$PYTHON" -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 safetensors
fi

check() {
    "$PYTHON" tests/onnx/check.py "$1"
    cargo run --quiet --release --manifest-path tests/onnx/tract/Cargo.toml --target-dir target/onnx-tract -- "$1"
}

cargo run --quiet --release --example onnx_samples -- "$work/random" "${COUNT:-200}" 1
check "$work/random"
if [ -n "${1:-}" ]; then
    cargo run --quiet --release -- export "$1" --front "$work/front"
    cargo run --quiet --release --example onnx_samples -- "$work/models" "$work"/front/network-*/
    check "$work/models"
fi
