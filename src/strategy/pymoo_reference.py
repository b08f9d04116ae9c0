"""Hypervolumes of pymoo's NSGA-II and SMS-EMOA on ZDT1 and DTLZ2, for src/strategy/benchmark_problems.rs.

    python3 -m venv venv && venv/bin/pip install pymoo && venv/bin/python src/strategy/pymoo_reference.py

Both sides: a population of 40, simulated binary crossover (probability 0.9, index 15) and polynomial mutation (index 20), 4,000
evaluations, 20 seeds. Hypervolumes of all that was evaluated, to (1.1, 1.1) and (1.1, 1.1, 1.1).
"""
import json
import sys
from pathlib import Path

import numpy as np
import pymoo
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.indicators.hv import HV
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.optimize import minimize
from pymoo.problems import get_problem

POPULATION, EVALUATIONS, SEEDS = 40, 4000, 20
problems = {
    "zdt1": lambda: get_problem("zdt1", n_var=10),
    "dtlz2": lambda: get_problem("dtlz2", n_var=7, n_obj=3),
}
algorithms = {"nsga2": NSGA2, "sms_emoa": SMSEMOA}



def recorded(problem, seen):
    evaluate = problem._evaluate

    def wrapper(x, out, *arguments, **named):
        evaluate(x, out, *arguments, **named)
        seen.append(np.array(out["F"]))

    problem._evaluate = wrapper
    return problem


results = {"pymoo": pymoo.__version__, "python": sys.version.split()[0]}
for problem_name, make in problems.items():
    for name, algorithm in algorithms.items():
        values = []
        for seed in range(SEEDS):
            seen = []
            problem = recorded(make(), seen)
            minimize(
                problem,
                algorithm(pop_size=POPULATION, crossover=SBX(prob=0.9, eta=15), mutation=PM(eta=20)),
                ("n_eval", EVALUATIONS),
                seed=seed,
            )
            everything = np.concatenate(seen)
            assert len(everything) == EVALUATIONS, len(everything)
            values.append(float(HV(ref_point=np.full(problem.n_obj, 1.1))(everything)))
        results[f"{name} {problem_name}"] = sorted(values)
        print(name, problem_name, np.percentile(values, [0, 50, 100]), file=sys.stderr)
path = Path(__file__).with_name("pymoo_reference.json")
path.write_text(json.dumps(results, indent=1) + "\n")
