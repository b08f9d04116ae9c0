#!/bin/sh
# Writes morphisms/src/onnx/schema.rs anew from onnx.proto of the PyPI package onnx (Apache-2.0).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" onnx==1.23.2
python3 -m zipfile -e "$work"/onnx-*.whl "$work/package"
cargo run --quiet --release --manifest-path "$here/Cargo.toml" --target-dir "$work/target" -- \
    "$work/package/onnx" "$here/../src/onnx/schema.rs"
rustfmt --edition 2024 "$here/../src/onnx/schema.rs"
