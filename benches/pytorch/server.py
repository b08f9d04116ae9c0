"""The side of PyTorch and ONNX Runtime: runs cases when asked. Started by run.py.

    server.py THREADS [FOLDER OF FASHION-MNIST]

Requests come on standard input, one JSON object a line, each answered by one line on standard output:
`{"case": {...}, "side": "nchw" | "channels_last" | "onnxruntime", "repeats": 5}` by `{"seconds": [...]}`, after one more
run that does not count; and `{"versions": true}` by the versions of what is installed. What failed is answered by `{"error": "..."}`.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from networks import Network, to_onnx
from population import Population

LR, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4
CLASSES = 10
#: The side of the square matrices whose product is this machine's peak.
MATRIX = 1024
#: Numbers copied to measure the memory's bandwidth: 64 MiB, more than most last-level caches.
COPIED = 16 << 20

Run = Callable[[], object]


def values(shape: list[int], scale: float = 1.0) -> torch.Tensor:
    """The same numbers as on our side."""
    count = torch.Size(shape).numel()
    return (torch.sin(torch.arange(count, dtype=torch.float64) * 0.754877) * scale).float().reshape(shape)


def memory_format(side: str) -> torch.memory_format:
    return torch.channels_last if side == "channels_last" else torch.contiguous_format


def conv(spec: dict, passes: str, side: str) -> Run:
    layout, kernel, groups = memory_format(side), spec["kernel"], spec["groups"]
    x = values(spec["input"]).contiguous(memory_format=layout)
    shape = [spec["out_channels"], spec["input"][1] // groups, kernel, kernel]
    w = values(shape, 0.1).contiguous(memory_format=layout).requires_grad_()
    forward = lambda: F.conv2d(x, w, padding=kernel // 2, groups=groups)
    if passes == "forward":
        return inference_mode(forward)
    x.requires_grad_(spec["input_gradient"])
    return Backward(forward, [x, w] if spec["input_gradient"] else [w])


def norm(shape: list[int], passes: str, side: str) -> Run:
    x = values(shape).contiguous(memory_format=memory_format(side))
    gamma, beta = values([shape[1]]), values([shape[1]], 0.1)
    mean, variance = torch.zeros(shape[1]), torch.ones(shape[1])
    forward = lambda: F.relu(F.batch_norm(x, mean, variance, gamma, beta, training=True), inplace=True)
    if passes == "forward":
        return inference_mode(forward)
    arguments = [argument.requires_grad_() for argument in (x, gamma, beta)]
    return Backward(forward, arguments)


def inference_mode(forward: Run) -> Run:
    def run() -> object:
        with torch.inference_mode():
            return forward()

    return run


class Backward:
    """The backward pass alone, from a gradient that is there.

    As on our side the forward pass is done again each time and not timed, so that both find the same in the caches.
    """

    def __init__(self, forward: Run, arguments: list[torch.Tensor]) -> None:
        self.forward, self.arguments = forward, arguments
        self.gradient = torch.ones_like(forward())

    def before(self) -> None:
        self.output = self.forward()

    def __call__(self) -> object:
        return torch.autograd.grad(self.output, self.arguments, self.gradient)


def step(architecture: dict, batch: int, side: str) -> Run:
    layout = memory_format(side)
    network = Network(architecture).to(memory_format=layout).train()
    images = values([batch, *network.image]).contiguous(memory_format=layout)
    labels = torch.arange(batch) % CLASSES
    optimizer = network.optimizer(LR, MOMENTUM, WEIGHT_DECAY)

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def inference(architecture: dict, batch: int, side: str, threads: int) -> Run:
    network = Network(architecture).folded()
    images = values([batch, *network.image])
    if side == "onnxruntime":
        return onnx_runtime(network, images, threads)
    layout = memory_format(side)
    network, images = network.to(memory_format=layout), images.contiguous(memory_format=layout)
    return inference_mode(lambda: network(images))


def onnx_runtime(network: Network, images: torch.Tensor, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = to_onnx(network, len(images))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(images)
    feed = {session.get_inputs()[0].name: images.numpy()}
    found = torch.from_numpy(session.run(None, feed)[0])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    return lambda: session.run(None, feed)


def prepare(case: dict, side: str, threads: int, data: Path | None) -> Run:
    work = case["work"]
    match work["kind"]:
        case "matrix_product":
            a, b = values([MATRIX, MATRIX]), values([MATRIX, MATRIX])
            out = torch.empty_like(a)
            return lambda: torch.matmul(a, b, out=out)
        case "copy":
            source = values([COPIED])
            target = torch.empty_like(source)
            return lambda: target.copy_(source)
        case "conv":
            return conv(work["spec"], work["pass"], side)
        case "norm":
            return norm(work["input"], work["pass"], side)
        case "step":
            return step(work["architecture"], work["batch"], side)
        case "inference":
            return inference(work["architecture"], work["batch"], side, threads)
        case "population":
            return Population(work["architectures"], work["images"], side, threads, data)
    raise ValueError(f"no PyTorch code for {work['kind']}")


def versions() -> dict:
    """PyTorch and how it was built to compute, and ONNX Runtime where it is installed."""
    found = {"PyTorch": torch.__version__, "instruction set of PyTorch": torch.backends.cpu.get_cpu_capability()}
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return found
    return found | {"ONNX Runtime": onnxruntime.__version__, "onnx": onnx.__version__}


def timed(run: Run) -> float:
    getattr(run, "before", lambda: None)()
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def serve(threads: int, data: Path | None) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # One case is ready at a time, in every layout: `ready` maps a side to what runs it.
    name, ready = "", {}
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "versions" in request:
                print(json.dumps(versions()), flush=True)
                continue
            case, side = request["case"], request["side"]
            if case["name"] != name:
                for run in ready.values():
                    getattr(run, "close", lambda: None)()
                name, ready = case["name"], {}
            if side not in ready:
                ready[side] = prepare(case, side, threads, data)
            run = ready[side]
            timed(run)  # The other side had the caches.
            answer = {"seconds": [timed(run) for _ in range(request["repeats"])]}
        except Exception as error:  # noqa: BLE001, whatever it is, the other side is told
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
