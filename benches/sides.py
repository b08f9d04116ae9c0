"""What the races share: child processes that are asked in turn, their installation, and tables of what they gave.

Needs Python 3.10 and nothing but its standard library.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import venv
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent

#: A turn repeats a case until it takes about so long, so that caches and clock rate settle.
TURN_SECONDS = 0.05
MOST_REPEATS = 1000
#: Between turns: idle threads of the side that has just run spin for a few milliseconds.
PAUSE_SECONDS = 0.01


class Side:
    """A child process that answers a line of JSON with a line of JSON."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, **pipes)

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"{self.name}: {answer['error']}")
        return answer

    def memory(self, key: str) -> int | None:
        """Bytes: VmRSS now, VmHWM at most. None on systems that do not tell."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), None)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def interleaved(sides: list[str], rounds: int, seconds: Callable[[str, int], list[float]]) -> dict[str, list[float]]:
    """The median of each turn by side. `seconds(side, repeats)` takes a turn; each round begins with another side."""

    def turn(side: str, repeats: int) -> float:
        time.sleep(PAUSE_SECONDS)
        return median(seconds(side, repeats))

    # The warm-up, which also says how often a turn repeats the case.
    first = {side: turn(side, 1) for side in sides}
    repeats = {side: min(MOST_REPEATS, 1 + int(TURN_SECONDS / first[side])) for side in sides}
    turns: dict[str, list[float]] = {side: [] for side in sides}
    for place in range(rounds):
        for offset in range(len(sides)):
            side = sides[(place + offset) % len(sides)]
            turns[side].append(turn(side, repeats[side]))
    return turns


def python_with(packages: list[str], folder: Path, given: str | None) -> Path:
    """The interpreter of the given virtual environment, or of the one in `folder`, made and filled the first time."""
    home = Path(given) if given else folder
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if given:
        if not python.exists():
            raise SystemExit(f"--venv: expected a virtual environment, found no {python}")
        return python
    finished = home / "installed"
    if not finished.exists():
        print(f"Installing {', '.join(packages)} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        finished.touch()
    return python


def build(bench: str) -> Path:
    """Builds our side; the program's path."""
    print("Building our side", file=sys.stderr)
    command = ["cargo", "build", "--release", "--workspace", "--bench", bench]
    command.append("--message-format=json-render-diagnostics")
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == bench and message.get("executable"):
            return Path(message["executable"])
    raise SystemExit(f"cargo built no program called {bench}")


def quartile(values: list[float], place: int) -> float:
    """The first (0) or the third (2) quartile."""
    return quantiles(values, n=4, method="inclusive")[place] if len(values) > 1 else values[0]


def table(rows: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def machine() -> dict:
    """Where and when this runs."""
    found = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "processor": platform.processor()}
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
        found["processor"] = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return found | {"cores": os.cpu_count(), "system": platform.platform(), "Python": platform.python_version()}


def commit(root: Path) -> str:
    """The commit of the sources, with "-dirty" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True).stdout.strip() or "unknown"
