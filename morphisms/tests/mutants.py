#!/usr/bin/env python3
"""Which changes of the code no test notices: the mutants of cargo-mutants, all in one build.

    morphisms/tests/mutants.py [--where TEXT] [--output FILE] [-- CARGO TEST ARGUMENTS]

cargo-mutants builds anew for every mutant, which takes most of a day for a thousand. Here all that it lists (by
.cargo/mutants.toml) is written into a copy of the working tree, behind `if crate::mutant(N)`, and for each run of the tests
the environment variable MUTANT chooses one. Prints who survives; --output gets a line for every mutant. --where takes
those whose name (file, line, change) contains TEXT. What comes after -- selects packages and features.

The working tree is only read. Needs cargo-mutants, and tree-sitter and tree-sitter-rust of PyPI.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from itertools import accumulate
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"
TREE = WORK / "tree"
SUITE = ["--lib", "--test", "surgery", "--test", "properties"]
# Properties of costs, fingerprints and files, which are none of what is mutated.
SKIP = [part for name in ["cost::", "identity::", "strategies::", "onnx::"] for part in ("--skip", name)]
ENVIRONMENT = {
    "PROPTEST_CASES": "8",
    "PROPTEST_MAX_SHRINK_ITERS": "0",
    "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1",
    "RUST_BACKTRACE": "0",
}
# A mutant can make a loop endless. Seconds for unit tests and for properties, many times what they take.
LIMITS = {"morphisms": 20, "surgery": 60, "properties": 180}
SWITCH = """
#[doc(hidden)]
pub fn mutant(number: usize) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().map(|chosen| chosen.parse().unwrap()));
    *CHOSEN == Some(number)
}

/// An iterator or another of the same items.
pub enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<L: Iterator<Item = R::Item>, R: Iterator> Iterator for Either<L, R> {
    type Item = R::Item;

    fn next(&mut self) -> Option<R::Item> {
        match self {
            Self::Left(left) => left.next(),
            Self::Right(right) => right.next(),
        }
    }
}
"""


class Source:
    """A file with its mutants, by number."""

    def __init__(self, path: str):
        self.path = path
        self.text = (ROOT / path).read_bytes()
        starts, at = [0], 0
        for line in self.text.splitlines(keepends=True):
            at += len(line)
            starts.append(at)
        self.lines = starts
        self.root = Parser(Language(tree_sitter_rust.language())).parse(self.text).root_node
        self.at: dict[int, list[tuple[int, dict]]] = defaultdict(list)
        self.placed: set[int] = set()

    def add(self, number: int, mutant: dict) -> None:
        place = mutant["span"]["start"]
        line = self.text[self.lines[place["line"] - 1] : self.lines[place["line"]]].decode()
        offset = self.lines[place["line"] - 1] + len(line[: place["column"] - 1].encode())
        self.at[offset].append((number, mutant))

    def take(self, offset: int, genre: str) -> list[tuple[int, str]]:
        """The mutants of a genre that start here, with their replacements."""
        found = [(n, mutant["replacement"]) for n, mutant in self.at[offset] if mutant["genre"] == genre]
        self.placed.update(number for number, _ in found)
        return found

    def original(self, node: Node) -> str:
        return self.text[node.start_byte : node.end_byte].decode()

    def inside(self, node: Node) -> str:
        """The text of a node with the mutants of its children."""
        parts, at = [], node.start_byte
        for child in node.children:
            parts += [self.text[at : child.start_byte].decode(), self.mutated(child)]
            at = child.end_byte
        return "".join(parts) + self.text[at : node.end_byte].decode()

    def mutated(self, node: Node) -> str:
        match node.type:
            case "binary_expression" | "compound_assignment_expr":
                operator = node.child_by_field_name("operator")
                return self.either(node, operator, self.take(operator.start_byte, "BinaryOperator"))
            case "unary_expression":
                operator = node.children[0]
                return self.either(node, operator, self.take(operator.start_byte, "UnaryOperator"))
            case "function_item":
                return self.function(node)
            case "match_arm":
                return self.arm(node)
            case "field_initializer" | "shorthand_field_initializer":
                return self.field(node)
        return self.inside(node)

    def either(self, node: Node, operator: Node, mutants: list[tuple[int, str]]) -> str:
        before = self.text[node.start_byte : operator.start_byte].decode()
        after = self.text[operator.end_byte : node.end_byte].decode()
        choices = [f"if crate::mutant({n}) {{ {before}{new}{after} }} else " for n, new in mutants]
        inside = self.inside(node)
        return f"({''.join(choices)}{{ {inside} }})" if choices else inside

    def function(self, node: Node) -> str:
        body = node.child_by_field_name("body")
        if body is None or not body.named_children:
            return self.inside(node)
        first = next(child for child in body.named_children if "comment" not in child.type)
        mutants = self.take(first.start_byte, "FnValue")
        head = self.text[node.start_byte : body.start_byte].decode()
        inside = self.inside(body)
        if self.original(node.child_by_field_name("return_type") or body).startswith("impl Iterator"):
            for n, value in mutants:
                either = f"crate::Either::Left({value}) }} else {{ crate::Either::Right({inside})"
                inside = f"{{ if crate::mutant({n}) {{ {either} }} }}"
            return head + inside
        returns = [f"if crate::mutant({n}) {{ return {value}; }} " for n, value in mutants]
        return f"{head}{{ {''.join(returns)}{inside[1:]}"

    def arm(self, node: Node) -> str:
        pattern = node.child_by_field_name("pattern")
        guard = pattern.child_by_field_name("condition")
        arms = [arm for arm in node.parent.children if arm.type == "match_arm"]
        others = [self.original(arm.child_by_field_name("pattern")) for arm in arms]
        # Without another arm for what this one matches it would not build.
        mutants = self.take(node.start_byte, "MatchArm") if "_" in others else []
        gone = [f"!crate::mutant({n})" for n, _ in mutants]
        if guard is None:
            condition = f" if {gone[0]}" if gone else ""
            head = self.original(pattern) + condition
        else:
            always = f"({self.mutated(guard)})"
            for n, value in self.take(guard.start_byte, "MatchArmGuard"):
                chosen = f"crate::mutant({n}) ||" if value == "true" else f"!crate::mutant({n}) &&"
                always = f"({chosen} {always})"
            bound = self.text[pattern.start_byte : guard.start_byte].decode()
            head = bound + " && ".join([*gone, always])
        value = node.child_by_field_name("value")
        between = self.text[pattern.end_byte : value.start_byte].decode()
        return head + between + self.mutated(value) + self.text[value.end_byte : node.end_byte].decode()

    def field(self, node: Node) -> str:
        base = next((child for child in node.parent.children if child.type == "base_field_initializer"), None)
        mutants = self.take(node.start_byte, "StructField") if base else []
        if not mutants:
            return self.inside(node)
        value = node.child_by_field_name("value") or node
        field = self.original(node.child_by_field_name("field") or node)
        rest = self.original(base).removeprefix("..")
        kept = self.inside(node) if value == node else self.mutated(value)
        return f"{field}: if crate::mutant({mutants[0][0]}) {{ ({rest}).{field} }} else {{ {kept} }}"


def listed(where: str) -> list[dict]:
    found = subprocess.run(
        ["cargo", "mutants", "--list", "--json", "--workspace"], cwd=ROOT, check=True, capture_output=True
    )
    return [mutant for mutant in json.loads(found.stdout) if where in mutant["name"]]


def copy_tree() -> None:
    if TREE.exists():
        shutil.rmtree(TREE)
    top = {"target", "runs", ".git", ".venv"}
    shutil.copytree(ROOT, TREE, ignore=lambda folder, names: top & set(names) if Path(folder) == ROOT else ())
    # Cargo goes by times, and what is built may be what another list of mutants gave.
    for path in TREE.glob("morphisms/src/**/*.rs"):
        path.touch()


def write(mutants: dict[int, dict]) -> set[int]:
    """Writes the copy's sources; returns who is in them."""
    sources: dict[str, Source] = {}
    for number, mutant in mutants.items():
        path = mutant["file"]
        sources.setdefault(path, Source(path)).add(number, mutant)
    for path, source in sources.items():
        (TREE / path).write_text(source.mutated(source.root))
    library = "morphisms/src/lib.rs"
    (TREE / library).write_text((ROOT / library).read_text() + SWITCH)
    return set().union(*(source.placed for source in sources.values()))


def build(arguments: list[str]) -> tuple[dict[str, str], set[int]]:
    """The test programs by name; or the mutants that do not build."""
    command = ["cargo", "test", "--release", *arguments, *SUITE, "--no-run", "--message-format=json"]
    # Built in a fraction of the time; the kernels stay optimised.
    command += ["--config", "profile.release.package.morphisms.opt-level=0"]
    environment = os.environ | {"CARGO_TARGET_DIR": str(WORK / "build")}
    run = subprocess.run(command, cwd=TREE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    programs, bad, unknown = {}, set(), []
    for line in run.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["executable"]:
            if "morphisms" in message["manifest_path"]:
                programs[message["target"]["name"]] = message["executable"]
        if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
            found = set().union(*(blamed(span) for span in message["message"]["spans"]), set())
            bad |= found
            unknown += [] if found else [message["message"]["rendered"]]
    if run.returncode != 0 and not bad:
        sys.exit("\n".join([*unknown, run.stderr[-3000:]]))
    return programs, bad


def blamed(span: dict) -> set[int]:
    """The mutant whose branch a place is in; of a type that is returned, the first one in what returns it."""
    path = TREE / span["file_name"]
    if not path.is_file():
        return set()
    source = path.read_bytes()
    if returned := re.match(rb" \{ if crate::mutant\((\d+)\)", source[span["byte_end"] :]):
        return {int(returned[1])}
    before = source[: span["byte_start"]].decode()
    _, found, rest = before.rpartition("crate::mutant(")
    number, _, branch = rest.partition(")")
    depths = list(accumulate((char == "{") - (char == "}") for char in branch))
    inside = found and 1 in depths and min(depths[depths.index(1) :]) > 0
    return {int(number)} if inside else set()


def failure(program: str, tests: list[str], number: int | None, limit: int) -> str | None:
    """The first test that fails."""
    environment = os.environ | ENVIRONMENT | ({} if number is None else {"MUTANT": str(number)})
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    run = subprocess.Popen([program, *tests], cwd=TREE / "morphisms", env=environment, **output)
    late = threading.Timer(limit, run.kill)
    late.start()
    try:
        for line in run.stdout:
            if line.startswith("test ") and line.rstrip().endswith("FAILED"):
                run.kill()
                return line.split()[1]
        return {0: None, -9: f"the limit of {limit} s"}.get(run.wait(), "a crash")
    finally:
        late.cancel()
        run.wait()


def killer(programs: dict[str, str], number: int | None, path: str) -> str | None:
    """Who fails first: the tests beside the code, other unit tests, and then the rest."""
    module = path.removeprefix("morphisms/src/").removesuffix(".rs").removesuffix("/mod").replace("/", "::")
    beside = f"{module}::tests::"
    stages = [("morphisms", [beside]), ("morphisms", ["--skip", beside]), ("surgery", []), ("properties", SKIP)]
    for name, tests in stages:
        if test := failure(programs[name], tests, number, LIMITS[name]):
            return test
    return None


def buildable(mutants: dict[int, dict], arguments: list[str]) -> tuple[dict[str, str], dict[int, str]]:
    """The test programs, and the fates of those who are not in them."""
    fates = dict.fromkeys(mutants, "is not made")
    made = write(mutants)
    programs, bad = build(arguments)
    while bad:
        fates |= dict.fromkeys(bad, "does not build")
        made = write({number: mutants[number] for number in made - bad})
        programs, bad = build(arguments)
    return programs, {number: fate for number, fate in fates.items() if number not in made}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--where", default="")
    options.add_argument("--output", type=Path, default=Path(os.devnull))
    options.add_argument("cargo", nargs="*", default=["--package", "morphisms"])
    chosen = options.parse_args()
    mutants = dict(enumerate(listed(chosen.where)))
    copy_tree()
    programs, fates = buildable(mutants, chosen.cargo)
    start = time.monotonic()
    if test := killer(programs, None, ""):
        sys.exit(f"{test} fails without a mutant")
    print(f"{len(mutants)} mutants; without one the suite takes {time.monotonic() - start:.0f} s", flush=True)
    counts = Counter()
    with chosen.output.open("w") as output:
        for number, mutant in mutants.items():
            fate = fates.get(number) or killer(programs, number, mutant["file"]) or "survives"
            print(fate, mutant["name"], sep="\t", file=output, flush=True)
            counts[fate if number in fates or fate == "survives" else "is caught"] += 1
            if fate == "survives":
                print(mutant["name"], flush=True)
    print(", ".join(f"{count} {fate}" for fate, count in counts.items()))


if __name__ == "__main__":
    main()
