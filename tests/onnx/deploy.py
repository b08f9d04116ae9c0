"""Runs the Python program of docs/deploy.md on exported networks and holds its answers to those of `paretomorph predict`.

    deploy.py PARETOMORPH RUN DIR

DIR gets the front of RUN as ONNX models, and pictures of noise of the networks' size, for which no resizing blurs the
comparison.
"""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnxruntime
from PIL import Image

PICTURES = 8
#: Of percentages that are shown with one digit.
ROUNDING = 0.11


def program(docs):
    (code,) = re.findall(r"```python\n(.*?)```", docs.read_text(), re.DOTALL)
    return code


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def best(line):
    """The file, the class and its chance of a line of either side: `a.png: 3 98.2%`, `a.png: 3 98.2 %, 8 1.1 %, ..`."""
    path, name, chance = re.match(r"(.*?): (.+?) ([\d.]+)\s?%", line.replace("\u00a0", " ")).groups()
    return path, name, float(chance)


def main():
    paretomorph, run, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    output([paretomorph, "export", run, "--front", str(folder), "--format", "onnx", "--normalise"])
    code = program(pathlib.Path(__file__).parents[2] / "docs" / "deploy.md")
    members = json.loads((folder / "front.json").read_text())
    assert members, f"{run}: no front"
    for member in members:
        model = folder / member["path"]
        _, channels, height, width = onnxruntime.InferenceSession(str(model)).get_inputs()[0].shape
        assert channels == 1, "pictures here are grey"
        rng = np.random.default_rng(member["id"])
        pictures = [str(folder / f"{number}.png") for number in range(PICTURES)]
        for picture in pictures:
            Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)).save(picture)
        theirs = output([sys.executable, "-c", code, str(model), *pictures]).splitlines()
        ours = output([paretomorph, "predict", run, str(member["id"]), *pictures]).splitlines()
        assert len(theirs) == len(ours) == PICTURES, (theirs, ours)
        for (path, name, chance), (_, expected, own) in zip(map(best, theirs), map(best, ours)):
            assert name == expected and abs(chance - own) < ROUNDING, (model, path, theirs, ours)
    print(f"docs/deploy.md: {len(members)} networks classify {PICTURES} pictures as `paretomorph predict` does")


main()
