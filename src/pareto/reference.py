"""Writes reference.json: hypervolumes and ranks computed by moocore (PyPI: moocore 0.3.2, numpy).

    python reference.py > reference.json
"""

import json

import moocore
import numpy as np


def case(rng, count, objectives, kind):
    points = rng.random((count, objectives))
    if kind == "front":  # the positive part of a sphere: all points are non-dominated
        points = 1 - points / np.linalg.norm(points, axis=1, keepdims=True)
    if kind == "ties":
        points = np.round(points * 4) / 4
    points = np.round(points, 6)
    reference = [1.0625] * objectives if kind == "front" else [0.875] * objectives
    return {
        "points": points.tolist(),
        "reference": reference,
        "hypervolume": float(moocore.hypervolume(points, ref=reference)),
        "ranks": moocore.pareto_rank(points).tolist(),
    }


def main():
    rng = np.random.default_rng(1)
    cases = [
        case(rng, count, objectives, kind)
        for objectives, count in [(2, 24), (3, 24), (4, 20), (5, 16), (6, 12)]
        for kind in ["cloud", "front", "ties"]
    ]
    print("[")
    print(",\n".join(json.dumps(case) for case in cases))
    print("]")


main()
