"""Writes reference.json: scipy.optimize.nnls and scipy.stats.spearmanr (PyPI: scipy 1.17.1, numpy 2.4.6).

A ridge is the same as further rows: sqrt(ridge) times the identity, with targets of 0.

    python reference.py > reference.json
"""

import json

import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr


def least_squares(rng, count, ridge, noise):
    rows = np.round(rng.uniform(0, 2, (count, 5)), 4)
    truth = np.maximum(rng.normal(0.3, 1, 5), 0)
    targets = np.round(rows @ truth + noise * rng.normal(size=count), 4)
    padded = np.vstack([rows, np.sqrt(ridge) * np.eye(5)])
    x, _ = nnls(padded, np.concatenate([targets, np.zeros(5)]))
    return {"rows": rows.tolist(), "targets": targets.tolist(), "ridge": ridge, "x": x.tolist()}


def rank_correlation(rng, count, grain):
    first = np.round(rng.normal(size=count) / grain) * grain
    second = np.round((first + rng.normal(size=count)) / grain) * grain
    pairs = np.stack([first, second], axis=1)
    return {"pairs": pairs.tolist(), "rho": float(spearmanr(first, second).statistic)}


def listed(name, cases):
    return f' "{name}": [\n' + ",\n".join("  " + json.dumps(case) for case in cases) + "\n ]"


def main():
    rng = np.random.default_rng(4)
    shapes = [(20, 0.01, 0.1), (20, 1.0, 1.0), (6, 0.1, 2.0), (3, 0.5, 0.5), (40, 0.1, 3.0)]
    squares = listed("least_squares", [least_squares(rng, *shape) for shape in shapes])
    ranks = listed("rank_correlation", [rank_correlation(rng, *s) for s in [(5, 0.001), (12, 0.5), (30, 1.0)]])
    print("{\n" + squares + ",\n" + ranks + "\n}")


main()
