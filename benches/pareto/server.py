"""moocore's side of `run.py`: answers a line of JSON on standard input with a line on standard output.

    {"versions": true}                -> {"moocore": "...", ...}
    {"case": {...}}                   -> {}, see cases.rs; its arrays are made now
    {"run": "NAME", "repeats": 5}     -> {"seconds": [...], "value": ...}, after one more run that does not count

What failed is answered by {"error": "..."}.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from time import perf_counter

import moocore
import numpy as np


def prepare(case: dict):
    """The operation as a function without arguments, its arrays ready."""
    points, reference = np.array(case["points"]), np.array(case["reference"])
    front = np.array(case["front"])
    # By default dominated points are left out first, which is quicker, and on a front gives the same.
    ignore = case["shape"] != "cloud"
    runs = case["runs"]
    if runs:
        sets = np.repeat(np.arange(runs), len(points) // runs)
        percentiles = [100 * level / runs for level in range(1, runs + 1)]
    return {
        "sort": lambda: moocore.pareto_rank(points),
        "hypervolume": lambda: moocore.hypervolume(points, ref=reference),
        "contributions": lambda: moocore.hv_contributions(points, ref=reference, ignore_dominated=ignore),
        "igd_plus": lambda: moocore.igd_plus(points, ref=front),
        "epsilon_additive": lambda: moocore.epsilon_additive(points, ref=front),
        "attainment": lambda: moocore.eaf(points, sets=sets, percentiles=percentiles)[:, :2],
    }[case["operation"]]


def turn(run, repeats: int) -> dict:
    value = run()  # The other side had the caches.
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return {"seconds": seconds, "value": value.tolist() if isinstance(value, np.ndarray) else float(value)}


def main() -> None:
    ready = {}
    for line in sys.stdin:
        try:
            match json.loads(line):
                case {"versions": _}:
                    answer = {name: version(name) for name in ("moocore", "numpy")}
                    answer["Python of moocore"] = platform.python_version()
                case {"case": wanted}:
                    ready[wanted["name"]] = prepare(wanted)
                    answer = {}
                case {"run": name, "repeats": repeats}:
                    answer = turn(ready[name], repeats)
                case other:
                    answer = {"error": f"expected versions, case or run, found {list(other)}"}
        except Exception as problem:
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), flush=True)


main()
