"""Writes reference.json: what moocore (PyPI: moocore 0.3.2, numpy) computes for small sets of points.

    python reference.py > reference.json
"""

import json

import moocore
import numpy as np


def points_of(rng, count, objectives, kind):
    points = rng.random((count, objectives))
    if kind == "front":  # the positive part of a sphere: all points are non-dominated
        points = 1 - points / np.linalg.norm(points, axis=1, keepdims=True)
    if kind == "ties":
        points = np.round(points * 4) / 4
    return np.round(points, 6)


def case(rng, count, objectives, kind):
    points = points_of(rng, count, objectives, kind)
    front = points_of(rng, 8, objectives, kind)
    reference = [1.0625] * objectives if kind == "front" else [0.875] * objectives
    return {
        "points": points.tolist(),
        "reference": reference,
        "front": front.tolist(),
        "hypervolume": float(moocore.hypervolume(points, ref=reference)),
        "contributions": moocore.hv_contributions(points, ref=reference, ignore_dominated=False).tolist(),
        "ranks": moocore.pareto_rank(points).tolist(),
        "igd": float(moocore.igd(points, ref=front)),
        "igd_plus": float(moocore.igd_plus(points, ref=front)),
        "epsilon_additive": float(moocore.epsilon_additive(points, ref=front)),
        "epsilon_multiplicative": float(moocore.epsilon_mult(points + 1, ref=front + 1)),
    }


def attainment(rng, runs, count, kind):
    points = points_of(rng, runs * count, 2, kind)
    sets = np.repeat(np.arange(runs), count)
    percentiles = [100 * level / runs for level in range(1, runs + 1)]
    surfaces = moocore.eaf(points, sets=sets, percentiles=percentiles)
    return {
        "runs": [points[sets == run].tolist() for run in range(runs)],
        "surfaces": [surfaces[surfaces[:, 2] == percentile, :2].tolist() for percentile in percentiles],
    }


def main():
    rng = np.random.default_rng(1)
    cases = [
        case(rng, count, objectives, kind)
        for objectives, count in [(2, 24), (3, 24), (4, 20), (5, 16), (6, 12), (7, 10), (9, 8)]
        for kind in ["cloud", "front", "ties"]
    ]
    surfaces = [attainment(rng, runs, 8, kind) for runs in (1, 4, 5) for kind in ["cloud", "front", "ties"]]
    print('{"cases": [')
    print(",\n".join(json.dumps(case) for case in cases))
    print('], "attainment": [')
    print(",\n".join(json.dumps(case) for case in surfaces))
    print("]}")


main()
