"""Writes kde_reference.json: log densities by scipy.stats.gaussian_kde (PyPI: scipy 1.17.1, numpy 2.4.6).

scipy's bandwidth is a full covariance matrix, ours is diagonal. The points here are mirrored in every axis, so
that their covariance is diagonal and the two must agree.

    python kde_reference.py > kde_reference.json
"""

import itertools
import json

import numpy as np
from scipy.stats import gaussian_kde


def case(rng, dimensions, count):
    half = rng.uniform(0.5, 3.0, (count, dimensions)) * np.arange(1, dimensions + 1)
    signs = np.array(list(itertools.product([-1, 1], repeat=dimensions)))
    points = np.round((half[:, None, :] * signs[None, :, :]).reshape(-1, dimensions), 6)
    queries = np.round(rng.normal(0, 4, (4, dimensions)), 6)
    queries[-1] = 12.0  # far outside
    density = gaussian_kde(points.T, bw_method="scott")
    return {
        "points": points.tolist(),
        "queries": queries.tolist(),
        "log_density": density.logpdf(queries.T).tolist(),
    }


def main():
    rng = np.random.default_rng(2)
    cases = [case(rng, dimensions, count) for dimensions, count in [(1, 1), (1, 6), (2, 4), (3, 3)]]
    print("[")
    print(",\n".join(json.dumps(case) for case in cases))
    print("]")


main()
