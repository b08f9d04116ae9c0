"""Runs ONNX models in ONNX Runtime and compares with the logits they must compute.

    check.py DIR

DIR holds NAME.onnx and NAME.safetensors (images, logits, rounding) as `cargo run --example onnx_samples` writes them. Each model must
pass onnx.checker, take batches of any size, and agree to 1e-4 of its largest logit, or to what its own rounding in f32
comes to where that is more.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

BOUND = 1e-4


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def difference(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    tensors = load_file(path.with_suffix(".safetensors"))
    images, logits = tensors["images"], tensors["logits"]
    runtime = session(path)
    name = runtime.get_inputs()[0].name
    found = runtime.run(None, {name: images})[0]
    assert found.shape == logits.shape, f"{path}: shape {found.shape}, not {logits.shape}"
    # One image by itself: the batch is not fixed.
    alone = runtime.run(None, {name: images[:1]})[0]
    scale = np.abs(logits).max()
    moved = max(np.abs(found - logits).max(), np.abs(alone - logits[:1]).max())
    return moved / scale, max(BOUND, tensors["rounding"][0] / scale)


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    if not paths:
        sys.exit(f"no models in {sys.argv[1]}")
    found, allowed = np.array([difference(path) for path in paths]).T
    at = {share: np.quantile(found, share) for share in (0.5, 0.9, 0.99, 1.0)}
    shown = ", ".join(f"{share:.0%} at most {value:.1e}" for share, value in at.items())
    print(f"ONNX Runtime {onnxruntime.__version__}: {len(found)} models; difference by the largest logit: {shown}")
    for path, value, most in zip(paths, found, allowed):
        if not value <= BOUND:
            print(f"{path.name}: {value:.1e}; what the network's own rounding allows: {most:.1e}")
    sys.exit(0 if (found <= allowed).all() else 1)


main()
