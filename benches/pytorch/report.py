"""From the seconds of a race to tables. Units: seconds, operations a second, bytes a second; tables say theirs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import geometric_mean, median

from sides import quartile, table

NAMES = {
    "ours": "ours",
    "nchw": "PyTorch NCHW",
    "channels_last": "PyTorch channels_last",
    "onnxruntime": "ONNX Runtime",
}
TITLES = {
    "kernels": "Single operations, batch 64",
    "steps": "Whole training steps, batch 64",
    "population": "A population",
    "inference": "Inference, batch norms folded",
}
#: Columns behind the times.
FIGURES = ["ratio", "quartiles", "GFLOP/s", "of peak", "of limit"]


def result(case: dict, turns: dict[str, list[float]]) -> dict:
    """A case with its figures."""
    medians = {side: median(seconds) for side, seconds in turns.items()}
    found = {key: case.get(key) for key in ("name", "section", "detail", "flops", "bytes")}
    found |= {"median_seconds": medians, "seconds": turns}
    if "ours" in medians:
        best = min((side for side in medians if side != "ours"), key=medians.get)
        ratios = [ours / theirs for ours, theirs in zip(turns["ours"], turns[best])]
        found |= {"best_other": best, "ratio": medians["ours"] / medians[best]}
        found["ratio_quartiles"] = [quartile(ratios, 0), quartile(ratios, 2)]
    return found


def limits(results: list[dict]) -> dict[str, float]:
    """The machine's best rates in this run: operations a second of a matrix product, bytes a second of a copy."""
    machine = [case for case in results if case["section"] == "machine"]
    best = lambda key: max((case[key] / min(case["seconds"]["nchw"]) for case in machine if case[key]), default=math.nan)
    return {"flops": best("flops"), "bytes": best("bytes")}


def figures(case: dict, limit: dict[str, float]) -> list[str]:
    """The columns behind the times."""
    seconds, flops, size = case["median_seconds"]["ours"], case["flops"], case["bytes"]
    low, high = case["ratio_quartiles"]
    rate = [f"{flops / seconds / 1e9:.1f}", f"{flops / seconds / limit['flops'] * 100:.0f} %"] if flops else ["-", "-"]
    return [f"{case['ratio']:.2f}", f"{low:.2f} to {high:.2f}", *rate, nearest(seconds, flops, size, limit)]


def nearest(seconds: float, flops: float | None, size: float | None, limit: dict[str, float]) -> str:
    """The share of the time that arithmetic at the peak or memory traffic at the best rate would take, whichever is more
    (Williams et al., "Roofline", CACM 2009)."""
    if not size:
        return "-"
    arithmetic, memory = (flops or 0.0) / limit["flops"] / seconds, size / limit["bytes"] / seconds
    kind = "arithmetic" if arithmetic > memory else "memory"
    return f"{max(arithmetic, memory) * 100:.0f} % {kind}"


def cells(case: dict, limit: dict[str, float]) -> list[str]:
    times = [f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}" for seconds in case["median_seconds"].values()]
    return [case["name"], *times, *figures(case, limit)]


def columns(sides: list[str]) -> list[str]:
    return ["case", *[f"{NAMES[side]} ms" for side in sides], *FIGURES]


def heading(section: str, sides: list[str]) -> str:
    return f"\n{TITLES[section]}\n" + aligned(["case", *[side + " ms" for side in sides], *FIGURES])


def line(case: dict, limit: dict[str, float]) -> str:
    return aligned(cells(case, limit))


def aligned(texts: list[str]) -> str:
    return f"{texts[0]:46}" + "".join(f"{text:>17}" for text in texts[1:])


def sections(results: list[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for case in results:
        if case["section"] != "machine":
            found.setdefault(case["section"], []).append(case)
    return found


def means(cases: list[dict]) -> dict:
    """Ratios of a section: geometric mean, largest, and the geometric mean against each other side."""
    ratios = [case["ratio"] for case in cases]
    found = {"geometric_mean": geometric_mean(ratios), "largest": max(ratios), "against": {}}
    for side in cases[0]["median_seconds"]:
        if side != "ours":
            each = [case["median_seconds"]["ours"] / case["median_seconds"][side] for case in cases]
            found["against"][side] = geometric_mean(each)
    return found


def groups(section: str, cases: list[dict]) -> dict[str, list[dict]]:
    """What is averaged together: a section, and inference by batch."""
    if section != "inference":
        return {TITLES[section]: cases}
    by_batch: dict[str, list[dict]] = {}
    for case in cases:
        by_batch.setdefault(f"Inference, {case['name'].rpartition(', ')[2]}", []).append(case)
    return by_batch


def summary(results: list[dict]) -> str:
    """Geometric means, a section a row, as a Markdown table."""
    rows = [["section", "to the best other", "largest", *[f"to {NAMES[side]}" for side in NAMES if side != "ours"]]]
    for section, cases in sections(results).items():
        for title, group in groups(section, cases).items():
            mean = means(group)
            against = [f"{mean['against'][side]:.2f}" if side in mean["against"] else "-" for side in NAMES if side != "ours"]
            rows.append([title, f"{mean['geometric_mean']:.2f}", f"{mean['largest']:.2f}", *against])
    return table(rows)


def memory(results: list[dict]) -> str:
    """Peak memory of training steps as a Markdown table; empty where nothing was measured."""
    measured = [case for case in results if case.get("peak_bytes")]
    if not measured:
        return ""
    sides = list(measured[0]["peak_bytes"])
    rows = [["peak memory", *[f"{NAMES[side]} MB" for side in sides]]]
    rows += [[case["name"], *[f"{case['peak_bytes'][side] / 1e6:.0f}" for side in sides]] for case in measured]
    return table(rows) + "\n"


def markdown(facts: dict, results: list[dict]) -> str:
    limit = limits(results)
    lines = ["# Race against PyTorch", "", "Written by `benches/pytorch/run.py`; `benches/README.md` explains the columns.", ""]
    lines += [table([["", ""], *[[name, str(value)] for name, value in facts.items()]]), ""]
    lines += [
        f"The best matrix product of this run: {limit['flops'] / 1e9:.1f} GFLOP/s. The best copy: {limit['bytes'] / 1e9:.1f} GB/s.",
        "",
        "Geometric means of ratios, ours divided by theirs; below 1 ours is faster:",
        "",
        summary(results),
    ]
    for section, cases in sections(results).items():
        rows = [columns(list(cases[0]["median_seconds"])), *[cells(case, limit) for case in cases]]
        lines += ["", f"## {TITLES[section]}", "", table(rows)]
        details = [f"- {case['name']}: {case['detail']}" for case in cases if case["detail"]]
        lines += ["", *details] if details else []
        lines += ["", memory(cases)] if section == "steps" else []
    return "\n".join(lines) + "\n"


def write(folder: Path, facts: dict, results: list[dict]) -> None:
    """`race.md` and `race.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "race.md").write_text(markdown(facts, results))
    averages = {
        title: means(group)
        for section, cases in sections(results).items()
        for title, group in groups(section, cases).items()
    }
    document = {"facts": facts, "limits": limits(results), "means": averages, "cases": results}
    (folder / "race.json").write_text(json.dumps(document, indent=1) + "\n")
