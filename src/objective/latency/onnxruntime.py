"""Prints the milliseconds of each pass of a network through ONNX Runtime, batch 1, one thread, on its last line.

    python onnxruntime.py network.onnx WARMUP REPEATS

Without arguments it imports what it needs and prints 1.
"""

import sys
import time

import numpy
import onnxruntime


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main(path, warmup, repeats):
    network = session(path)
    image = network.get_inputs()[0]
    # A batch of any size has a name instead of a number.
    shape = [size if isinstance(size, int) else 1 for size in image.shape]
    feed = {image.name: numpy.full(shape, 0.5, numpy.float32)}
    for _ in range(warmup):
        network.run(None, feed)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        network.run(None, feed)
        times.append((time.perf_counter_ns() - begun) / 1e6)
    print(*times)


if len(sys.argv) == 1:
    print(1)
else:
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
