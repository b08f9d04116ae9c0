"""Holds import, morphisms and export to the networks of others, with ONNX Runtime as the judge.

    zoo.py PARETOMORPH DIR [NAME..]

Takes the nine networks that come with the PyPI package onnx (light_*.onnx), and from torchvision, if it is installed, ResNet-18
and MobileNetV2. Their weights are drawn anew (seeded; those of the light ones make every output constant, batch norms get
statistics of their own). For each, ONNX Runtime's logits on random images are compared before and after
`paretomorph morph --random K --exact`, for K of 0 (import and export alone) and 5; they may differ by 1e-4 of the
largest logit.
"""

import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

BOUND = 1e-4
EXACT_MORPHISMS = (0, 5)


def draw(rng, operator, place, shape):
    """A parameter by the operator that reads it and the place where it does."""
    if operator in ("Conv", "Gemm") and place == 1:
        fan_in = np.prod(shape[1:])
        return rng.normal(0, np.sqrt(2 / fan_in), shape)
    if (operator, place) in (("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.2, shape)


def redrawn(model, seed):
    """The model with the parameters that come from ConstantOfShape drawn at random, as initialisers, and without softmax."""
    rng = np.random.default_rng(seed)
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: stored[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    readers = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, (node, place))
    initializers = []
    for name, shape in made.items():
        node, place = readers[name]
        if node.op_type == "Unsqueeze":
            node, place = readers[node.output[0]]
        values = draw(rng, node.op_type, place, tuple(shape)).astype(np.float32)
        initializers.append(numpy_helper.from_array(values, name))
    nodes = [node for node in graph.node if node.op_type not in ("ConstantOfShape", "Softmax")]
    for softmax in (node for node in graph.node if node.op_type == "Softmax"):
        for node in nodes:
            node.output[:] = [softmax.output[0] if name == softmax.input[0] else name for name in node.output]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    return model


def light():
    folder = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(folder.glob("light_*.onnx")):
        yield path.stem, lambda path=path: redrawn(onnx.load(path), 0)


def from_torch(builder):
    import io

    import torch

    torch.manual_seed(0)
    network = builder(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    file = io.BytesIO()
    batch = {"input": {0: "batch"}, "output": {0: "batch"}}
    # PRESERVE: otherwise the exporter folds batch norms.
    torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), file, input_names=["input"], output_names=["output"],
                      dynamic_axes=batch, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE)
    return onnx.load_from_string(file.getvalue())


def torchvision():
    try:
        from torchvision import models
    except ImportError:
        print("torchvision is not installed: its networks are left out")
        return
    for name in ("resnet18", "mobilenet_v2"):
        yield name, lambda name=name: from_torch(getattr(models, name))


def logits(path, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return runtime.run(None, {runtime.get_inputs()[0].name: images})[0].reshape(-1)


def judge(program, folder, name, model):
    source = folder / f"{name}.onnx"
    onnx.save(model, source)
    images = np.random.default_rng(1).normal(0, 1, (1, 3, 224, 224)).astype(np.float32)
    expected = logits(source, images)
    scale, spread = np.abs(expected).max(), expected.std()
    good = True
    for count in EXACT_MORPHISMS:
        out = folder / f"{name}-{count}.onnx"
        command = [program, "morph", str(source), "--random", str(count), "--exact", "--seed", str(count), "-o", str(out)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode != 0:
            print(f"{name}: {' '.join(command)}\n{ran.stdout}{ran.stderr}")
            return False
        onnx.checker.check_model(onnx.load(out), full_check=True)
        moved = np.abs(logits(out, images) - expected).max() / scale
        good &= bool(moved <= BOUND)
        print(f"{name}: {count} exact morphisms, difference {moved:.1e} of the largest logit "
              f"({scale:.3g}; they spread by {spread:.2g})" + ("" if moved <= BOUND else "  TOO LARGE"), flush=True)
        out.unlink()
    source.unlink()
    return good


def main():
    program, folder, *names = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for name, model in [*light(), *torchvision()]:
        if not names or name in names:
            results.append(judge(program, folder, name, model()))
    assert results, f"none of {names}"
    sys.exit(0 if all(results) else 1)


main()
