"""Sums up what `perf report --sort symbol` says by what the program was doing. Started by profile.sh."""

from __future__ import annotations

import re
import sys

#: The first pattern found in a symbol decides. Types of generic functions come before the functions themselves.
GROUPS = [
    ("convolution", r"candle_convnet::conv"),
    # What a convolution reads of a batch norm is computed in `source`.
    ("batch norm, with the ReLU and the pooling after it", r"candle_convnet::(norm|source)"),
    ("other operations", r"candle_convnet::(pool|mix|combine|residual|activation|linear|loss|reduce)"),
    ("optimiser", r"candle_convnet::sgd"),
    ("data", r"paretomorph::data|miniz_oxide|flate2"),
    ("tape, tensors, memory", r"candle_|_?mi_|mem(move|set|cpy)|^\[k\]"),
    ("search", r"paretomorph|morphisms|sqlite|serde|safetensors|petgraph"),
]
REST = "everything else"
LINE = re.compile(r"^\s*([0-9.]+)%\s+(\[[.k]\]\s+.*\S)\s*$")


def group(symbol: str) -> str:
    return next((name for name, pattern in GROUPS if re.search(pattern, symbol)), REST)


def main() -> None:
    shares: dict[str, float] = {}
    for line in sys.stdin:
        if found := LINE.match(line):
            name = group(found[2])
            shares[name] = shares.get(name, 0.0) + float(found[1])
    if not shares:
        raise SystemExit("profile.py: expected lines of `perf report --sort symbol --stdio`, found none")
    print("| share of the time | |\n|---|---|")
    for name in [*(name for name, _ in GROUPS), REST]:
        print(f"| {name} | {shares.get(name, 0.0):.1f} % |")


if __name__ == "__main__":
    main()
