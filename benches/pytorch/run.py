#!/usr/bin/env python3
"""Races this crate against PyTorch and ONNX Runtime: one command, both sides in one run.

    benches/pytorch/run.py [--rounds 9] [--threads 2] [--only SECTION]

Installs PyTorch into target/pytorch-venv (or takes the environment that --venv or PYTORCH_VENV names), builds our side,
starts both as long-lived processes and asks them in turn, case by case. Prints a table and writes it as Markdown and JSON.
What is compared and what the columns mean: benches/README.md. Needs Python 3.10 and nothing but its standard library.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # what the races share

import report
from sides import ROOT, Side, build, commit, interleaved, machine, python_with

SECTIONS = ["kernels", "steps", "population", "inference"]
PACKAGES = ["torch", "numpy", "onnx", "onnxruntime"]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

OURS, NCHW, CHANNELS_LAST, ONNX = "ours", "nchw", "channels_last", "onnxruntime"
#: Steps after which the memory of a training step no longer grows.
MEMORY_REPEATS = 5
#: Of the last minute, building included.
QUIET_LOAD = 1.5

#: glibc gives large tensors back to the kernel when they are freed, and page faults then take a tenth of PyTorch's step.
#: Our side's allocator keeps them; with these settings glibc does too. Other systems ignore them.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}

#: What the figures are set in relation to: the best matrix product and the best copy of this machine.
MACHINE = [
    {
        "name": "matrix product, 1024^3",
        "section": "machine",
        "flops": 2.0 * 1024**3,
        "work": {"kind": "matrix_product"},
    },
    {
        "name": "copy of 64 MiB",
        "section": "machine",
        "bytes": 2.0 * (64 << 20),
        "work": {"kind": "copy"},
    },
]


def request(case: dict, side: str, repeats: int) -> dict:
    if side == OURS:
        return {"run": case["name"], "repeats": repeats}
    return {"case": case, "side": side, "repeats": repeats}


class Race:
    """Both sides, ready to be asked."""

    def __init__(self, arguments: argparse.Namespace, program: Path, python: Path, data: Path) -> None:
        threads = str(arguments.threads)
        self.rounds = arguments.rounds
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment |= KEEP_MEMORY if arguments.malloc == "keep" else {}
        self.images = arguments.images
        command = [str(program), threads, str(data)]
        self.start_ours = lambda: Side("our side", command, {"CANDLE_NUM_THREADS": "1"})
        server = [str(python), str(HERE / "server.py"), threads, str(data)]
        self.start_theirs = lambda: Side("PyTorch's side", server, environment)
        self.ours, self.theirs = self.start_ours(), self.start_theirs()
        self.versions = self.theirs.ask({"versions": True})

    def sides(self, case: dict) -> list[str]:
        match case["section"]:
            case "machine":
                return [NCHW]
            case "inference" if "ONNX Runtime" in self.versions:
                return [OURS, NCHW, CHANNELS_LAST, ONNX]
            case _:
                return [OURS, NCHW, CHANNELS_LAST]

    def seconds(self, case: dict, side: str, repeats: int) -> list[float]:
        """One turn."""
        process = self.ours if side == OURS else self.theirs
        return process.ask(request(case, side, repeats))["seconds"]

    def peak_memory(self, case: dict) -> dict[str, int]:
        """By how many bytes a fresh process of each side grows at most, where the system tells."""
        peaks = {}
        for side in self.sides(case):
            process = self.start_ours() if side == OURS else self.start_theirs()
            process.ask({"cases": {"images": self.images}} if side == OURS else {"versions": True})
            before = process.memory("VmRSS")
            process.ask(request(case, side, MEMORY_REPEATS))
            after = process.memory("VmHWM")
            process.close()
            if before is not None and after is not None:
                peaks[side] = after - before
        return peaks

    def run(self, case: dict) -> dict[str, list[float]]:
        """The seconds of every round by side; each round begins with another side."""
        return interleaved(self.sides(case), self.rounds, lambda side, repeats: self.seconds(case, side, repeats))

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


def images(given: str | None, count: int) -> tuple[Path, str]:
    """The folder that both sides read, and what it holds. Without Fashion-MNIST, random images of its shape."""
    for folder in [Path(given)] if given else [DEBIAN]:
        if any(folder.glob("train-images-idx3-ubyte*")):
            return folder.resolve(), "Fashion-MNIST"
    if given:
        raise SystemExit(f"--data: expected the four IDX files of Fashion-MNIST, found none in {given}")
    folder = ROOT / "target" / "random-images"
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)
    for name, images in [("train", count * 5 // 4 + 10), ("t10k", 100)]:
        pixels = struct.pack(">IIII", 0x803, images, 28, 28) + generator.randbytes(images * 784)
        labels = struct.pack(">II", 0x801, images) + bytes(image % 10 for image in range(images))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(pixels)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    return folder, "random images of Fashion-MNIST's shape (apt-get install dataset-fashion-mnist for the real ones)"


def arguments() -> argparse.Namespace:
    summary, _, text = __doc__.partition("\n\n")
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=text, formatter_class=formatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side a case (default 9)")
    parser.add_argument("--threads", type=int, default=2, help="of each side; workers of the population (default 2)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="one section; may be given several times")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--images", type=int, default=10_000, help="the population trains on (default 10000)")
    parser.add_argument("--data", help="folder of Fashion-MNIST (default: where Debian's package puts it)")
    parser.add_argument("--venv", default=os.environ.get("PYTORCH_VENV"), help="a virtual environment with PyTorch")
    parser.add_argument("--malloc", choices=["keep", "system"], default="keep", help="PyTorch's; see the README")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "race", help="folder (default target/race)")
    parsed = parser.parse_args()
    if parsed.rounds < 1 or parsed.threads < 1 or parsed.images < 64:
        parser.error("expected at least 1 round, 1 thread and 64 images")
    return parsed


def main() -> None:
    options = arguments()
    python = python_with(PACKAGES, ROOT / "target" / "pytorch-venv", options.venv)
    program = build("race")
    data, source = images(options.data, options.images)
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        print(f"This machine is not quiet (load {load:.1f}): ratios will favour our side", file=sys.stderr)
    race = Race(options, program, python, data)
    facts = machine() | race.versions | {
        "commit": commit(ROOT),
        "threads": options.threads,
        "rounds": options.rounds,
        "images of the population": source,
        "malloc of PyTorch": options.malloc,
        "load before": round(load, 2),
    }
    cases = race.ours.ask({"cases": {"images": options.images}})["cases"]
    wanted = [case for case in cases if case["section"] in (options.only or SECTIONS)]
    wanted = [case for case in wanted if (options.case or "") in case["name"]]
    results, section = [], None
    for case in wanted:
        if case["section"] != section:
            section = case["section"]
            # The machine's limits are measured again with every section: clock rates change.
            results += [report.result(limit, race.run(limit)) for limit in MACHINE]
            print(report.heading(section, race.sides(case)), flush=True)
        results.append(report.result(case, race.run(case)))
        if section == "steps":
            results[-1]["peak_bytes"] = race.peak_memory(case)
        print(report.line(results[-1], report.limits(results)), flush=True)
    race.close()
    facts["load after"] = round(os.getloadavg()[0], 2)
    report.write(options.out, facts, results)
    print(f"\n{report.summary(results)}\n\n{report.memory(results)}\nWritten to {options.out}/race.md and race.json")


if __name__ == "__main__":
    main()
