#!/usr/bin/env python3
"""Races the Pareto operations against moocore: one command, both sides in one run.

    benches/pareto/run.py [--rounds 21] [--case TEXT]

Installs moocore into target/moocore-venv (or takes the environment that --venv or MOOCORE_VENV names), builds our side,
starts both as long-lived processes and asks them in turn, case by case. Both sides' results are compared. Prints a table
and writes it as Markdown and JSON. What is compared: benches/README.md. Needs Python 3.10 and nothing but its standard
library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import geometric_mean, median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # what the races share

from sides import ROOT, Side, build, commit, interleaved, machine, python_with, quartile, table

OURS, THEIRS = "ours", "moocore"
PACKAGES = ["moocore", "numpy"]
COLUMNS = ["case", "ours µs", "moocore µs", "ratio", "quartiles"]
#: Between the results of both sides, relative to the largest.
TOLERANCE = 1e-9


def same(ours, theirs) -> bool:
    """Whether the results agree: ranks and corners exactly, numbers to rounding."""
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs))
    if isinstance(ours, int):
        return ours == theirs
    return abs(ours - theirs) <= TOLERANCE * max(1.0, abs(ours))


def run(case: dict, sides: dict[str, Side], rounds: int) -> dict:
    """A case with its figures; ends the program if the sides do not agree."""
    name = case["name"]
    sides[THEIRS].ask({"case": case})
    ask = lambda side, repeats: sides[side].ask({"run": name, "repeats": repeats})
    values = [ask(side, 0)["value"] for side in sides]
    if not same(*values):
        raise SystemExit(f"{name}: the sides do not agree: {values}")
    turns = interleaved(list(sides), rounds, lambda side, repeats: ask(side, repeats)["seconds"])
    medians = {side: median(seconds) for side, seconds in turns.items()}
    ratios = [ours / theirs for ours, theirs in zip(turns[OURS], turns[THEIRS])]
    found = {"name": name, "median_seconds": medians, "seconds": turns, "ratio": medians[OURS] / medians[THEIRS]}
    return found | {"ratio_quartiles": [quartile(ratios, 0), quartile(ratios, 2)]}


def cells(result: dict) -> list[str]:
    times = [f"{seconds * 1e6:,.1f}" for seconds in result["median_seconds"].values()]
    low, high = result["ratio_quartiles"]
    return [result["name"], *times, f"{result['ratio']:.2f}", f"{low:.2f} to {high:.2f}"]


def summary(results: list[dict]) -> str:
    ratios = [result["ratio"] for result in results]
    worst = max(results, key=lambda result: result["ratio"])
    return f"Geometric mean of the ratios {geometric_mean(ratios):.2f}, largest {worst['ratio']:.2f} ({worst['name']})."


def write(folder: Path, facts: dict, results: list[dict]) -> None:
    """`pareto.md` and `pareto.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    head = ["# Pareto operations against moocore", "", "Written by `benches/pareto/run.py`; see `benches/README.md`.", ""]
    known = table([["", ""], *[[name, str(value)] for name, value in facts.items()]])
    figures = table([COLUMNS, *[cells(result) for result in results]])
    text = "\n".join([*head, known, "", summary(results), "", figures]) + "\n"
    (folder / "pareto.md").write_text(text, encoding="utf-8")
    (folder / "pareto.json").write_text(json.dumps({"facts": facts, "cases": results}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    text, _, more = __doc__.partition("\n\n")
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=text, epilog=more, formatter_class=formatter)
    parser.add_argument("--rounds", type=int, default=21, help="turns of each side a case (default 21)")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--venv", default=os.environ.get("MOOCORE_VENV"), help="a virtual environment with moocore")
    parser.add_argument("--program", type=Path, help="our side, already built (default: builds it)")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "race", help="folder (default target/race)")
    parsed = parser.parse_args()
    if parsed.rounds < 1:
        parser.error("expected at least 1 round")
    return parsed


def main() -> None:
    options = arguments()
    python = python_with(PACKAGES, ROOT / "target" / "moocore-venv", options.venv)
    program = options.program or build("pareto_race")
    load = os.getloadavg()[0]
    sides = {
        OURS: Side("our side", [str(program)], {}),
        THEIRS: Side("moocore's side", [str(python), str(HERE / "server.py")], {}),
    }
    facts = machine() | sides[THEIRS].ask({"versions": True})
    facts |= {"commit": commit(ROOT), "rounds": options.rounds, "load before": round(load, 2)}
    cases = sides[OURS].ask({"cases": True})["cases"]
    results = []
    print("".join(f"{text:>20}" if place else f"{text:44}" for place, text in enumerate(COLUMNS)))
    for case in cases:
        if (options.case or "") in case["name"]:
            results.append(run(case, sides, options.rounds))
            texts = enumerate(cells(results[-1]))
            print("".join(f"{text:>20}" if place else f"{text:44}" for place, text in texts), flush=True)
    for side in sides.values():
        side.close()
    facts["load after"] = round(os.getloadavg()[0], 2)
    write(options.out, facts, results)
    print(f"\n{summary(results)}\nWritten to {options.out}/pareto.md and pareto.json")


if __name__ == "__main__":
    main()
