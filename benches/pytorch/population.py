"""Several networks trained side by side by PyTorch, a process with one thread each.

As a program: a worker, which trains the network of each line on standard input and answers with a line.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import torch
from torch.nn import functional as F

from networks import Network

BATCH, LR, MOMENTUM, WEIGHT_DECAY = 64, 0.05, 0.9, 5e-4
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


class Population:
    """Workers that live as long as the case; they have the images in memory, ready as floats."""

    def __init__(
        self, architectures: list[dict], images: int, side: str, threads: int, data: Path | None
    ) -> None:
        self.networks = sorted(architectures, key=cost, reverse=True)
        command = [sys.executable, __file__, side, str(images), str(data or DEBIAN)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(threads)]
        for worker in self.workers:
            expect(worker, "ready")

    def __call__(self) -> None:
        """An epoch of every network; a worker takes the largest that is left."""
        queue, failed = list(reversed(self.networks)), []

        def work(worker: subprocess.Popen) -> None:
            try:
                while queue:
                    worker.stdin.write(json.dumps(queue.pop()) + "\n")
                    expect(worker, "done")
            except Exception as error:  # noqa: BLE001, told below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def close(self) -> None:
        for worker in self.workers:
            worker.stdin.close()
            worker.wait()


def expect(worker: subprocess.Popen, word: str) -> None:
    line = worker.stdout.readline().strip()
    if line != word:
        raise RuntimeError(f"a worker of the population: expected `{word}`, found `{line}`")


def cost(architecture: dict) -> float:
    """Multiply-adds of the convolutions, to start the longest trainings first."""
    total, size = 0.0, {}
    for layer in architecture["layers"]:
        inputs = layer.get("inputs", [])
        channels, area = size[inputs[0]] if inputs else (architecture["input"][0], math.prod(architecture["input"][1:]))
        if layer["type"] == "conv":
            out = layer["out_channels"]
            total += area * out * channels / layer["groups"] * math.prod(layer["window"]["kernel"])
            channels = out
        elif layer["type"] == "pool":
            area /= math.prod(layer["window"]["stride"])
        elif layer["type"] == "concat":
            channels = sum(size[source][0] for source in inputs)
        size[layer["id"]] = (channels, area)
    return total


def read(folder: Path, name: str, header: int) -> torch.Tensor:
    """The bytes of an IDX file, gzipped or not, behind its header."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    content = plain.read_bytes() if plain.exists() else gzip.decompress(zipped.read_bytes())
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8)


def train(network: Network, images: torch.Tensor, labels: torch.Tensor) -> float:
    """One epoch with a cosine schedule; the mean loss."""
    optimizer = network.optimizer(LR, MOMENTUM, WEIGHT_DECAY)
    batches = torch.randperm(len(images)).split(BATCH)
    total = 0.0
    for place, indices in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * LR * (1 + math.cos(math.pi * place / len(batches)))
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(images[indices]), labels[indices])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(indices)
    return total / len(images)


def work(side: str, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    layout = torch.channels_last if side == "channels_last" else torch.contiguous_format
    pixels = read(folder, "train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[:count].float()
    images = ((pixels - pixels.mean()) / pixels.std()).contiguous(memory_format=layout)
    labels = read(folder, "train-labels-idx1-ubyte", 8)[:count].long()
    print("ready", flush=True)
    for line in sys.stdin:
        network = Network(json.loads(line)).to(memory_format=layout).train()
        loss = train(network, images, labels)
        print("done" if math.isfinite(loss) else f"loss {loss}", flush=True)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
