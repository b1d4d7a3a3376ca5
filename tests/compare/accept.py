#!/usr/bin/env python3
"""Holds `harness compare` to what it promises, on real runs of this machine.

    tests/compare/accept.py                         ten pairs of the whole default matrix
    tests/compare/accept.py --pairs 2 -- --models bert --bits 4 --browsers chrome      a try

Each round is a run, an equal run, and a run of an engine in which one kernel is slower: the CPU's matrix
multiplication computes one row of weights in four three times, so the results are the same and the kernel
takes half as long again. The rounds are interleaved, so that all three see the same machine, and compared as a
user would compare them. Promised are, over all cells of all pairs:

    equal runs      at most 1% changed, at most 10% that compare cannot tell
    slower kernel   of the cells whose own median over all rounds moved by 20% or more, 90% regressed;
                    medians are by the yardstick, as what else the processor did moves others

What stands behind `--` goes to every run, which has --rounds 4 already. It takes python 3.9, cargo, a browser, and a machine that does
nothing else meanwhile; the whole default matrix takes as long as thirty runs of it. Everything is kept
below target/compare; a second call goes on with the builds of the first and measures anew.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target/compare"
SUFFIX = ".exe" if os.name == "nt" else ""

# One row in four is computed three times. Each pair must be found once in the kernel as it is.
KERNEL = "engine/src/ops/matmul/cpu.rs"
AGAIN = "std::iter::repeat_n({0}, if {1} % 4 == 0 {{ 3 }} else {{ 1 }})"
PLANT = [
    (
        "for (row, codes) in shard.codes.cpu().chunks_exact(words).enumerate() {",
        "for (row, codes) in shard.codes.cpu().chunks_exact(words).enumerate()"
        ".flat_map(|(row, codes)| " + AGAIN.format("(row, codes)", "row") + ") {",
    ),
    (
        "for n in 0..w.rows {\n        w.dequantise_row",
        "for n in (0..w.rows).flat_map(|n| " + AGAIN.format("n", "n") + ") {\n        w.dequantise_row",
    ),
]


def call(*words, cwd=ROOT, **options):
    return subprocess.run([str(word) for word in words], cwd=cwd, check=True, **options)


def build(tree, name):
    """The harness of a tree, which knows how to build the page of that tree."""
    # Cargo takes packages of two trees for one where they share a folder.
    target = tree / "target"
    call("cargo", "build", "--package", "harness", "--target-dir", target, cwd=tree)
    program = WORK / f"harness-{name}{SUFFIX}"
    shutil.copy(target / f"debug/harness{SUFFIX}", program)
    return program


def planted_tree():
    """A copy of the tree with the slower kernel."""
    tree = WORK / "tree"
    files = call("git", "ls-files", "-z", "--cached", capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        text = (ROOT / name).read_bytes()
        if name == KERNEL:
            source = text.decode()
            for old, new in PLANT:
                if source.count(old) != 1:
                    sys.exit(f"{KERNEL} is another than it was: put the fault in by hand, see PLANT")
                source = source.replace(old, new)
            text = source.encode()
        path = tree / name
        # What is as it was keeps its time, so that a second build has nothing to do.
        if not path.exists() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    return tree


def build_pages():
    """The harness, and the pages with the kernel as it is and with the slower one."""
    tree = planted_tree()
    planted, harness = build(tree, "planted"), build(ROOT, "equal")
    # The first run of each program builds its page; its figures go nowhere.
    page = ["--models", "bert", "--bits", "4", "--backends", "wasm"]
    for program in (planted, harness):
        Lab(program, []).run("pages.sqlite", *page)
    return harness, [ROOT / "target/web", tree / "target/web"]


class Lab:
    def __init__(self, harness, options):
        self.harness, self.options = harness, options

    def json(self, *words):
        """What a command prints with --json. A cell that fails is no business of this script."""
        command = [self.harness, "--json", "--quiet", *words]
        result = subprocess.run([str(word) for word in command], cwd=WORK, stdout=subprocess.PIPE, text=True)
        if result.returncode not in (0, 1, 3):
            sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}")
        return [json.loads(line) for line in result.stdout.splitlines()]

    def run(self, database, *more):
        lines = self.json("run", "--db", database, "--rounds", 4, *more, *self.options)
        return lines[-1]["run_id"]

    def compare(self, before, after, database):
        """Cells by change, and how many there are of each."""
        changes, counts = {}, {}
        for line in self.json("compare", before, after, "--db", database):
            if "counts" in line:
                counts = line["counts"]
            elif "change" in line:
                changes[key(line["cell"])] = line
        return changes, counts


def key(cell):
    return json.dumps(cell, sort_keys=True)


def medians(path):
    """The median time of each cell, run by run."""
    times = defaultdict(list)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        timing = record.get("outcome", {}).get("timing")
        if timing and timing["samples_ms"] and record["outcome"]["status"] in ("pass", "flaky"):
            samples, units = timing["samples_ms"], timing.get("yardstick_ms") or [1] * len(timing["samples_ms"])
            steady = [sample / unit for sample, unit in zip(samples, units)]
            times[key(record["cell"])].append(statistics.median(steady))
    return {cell: statistics.median(all) for cell, all in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument(
        "--pages", nargs=2, type=Path, metavar=("EQUAL", "SLOWER"), help="pages that are built already"
    )
    parser.add_argument(
        "--program", type=Path, help="a packed harness, for a machine without Rust; it takes --pages as well"
    )
    parser.add_argument("options", nargs="*", help="options of `harness run`, behind --")
    args = parser.parse_args()

    WORK.mkdir(parents=True, exist_ok=True)
    for old in [*WORK.glob("*.sqlite*"), *WORK.glob("*.jsonl")]:
        old.unlink(missing_ok=True)
    if args.pages:
        harness = args.program.resolve() if args.program else build(ROOT, "equal")
        pages = [page.resolve() for page in args.pages]
    else:
        harness, pages = build_pages()
    lab = Lab(harness, ["--bundle", pages[0], *args.options])
    slower_lab = Lab(harness, ["--bundle", pages[1], *args.options])
    slower = []
    if "--backends" not in args.options:
        slower = ["--backends", "wasm"]

    equal, found = Counter(), []
    for number in range(1, args.pairs + 1):
        before, after = lab.run("equal.sqlite"), lab.run("equal.sqlite")
        _, counts = lab.compare(before, after, "equal.sqlite")
        equal.update(counts)
        print(f"pair {number}, equal: {counts}", flush=True)

        lines = WORK / f"slower-{number}.jsonl"
        slower_lab.run("slower.sqlite", "--records", lines, *slower)
        changes, counts = lab.compare(after, lines, "equal.sqlite")
        found.append({cell for cell, line in changes.items() if line["change"] == "regressed"})
        print(f"pair {number}, slower kernel: {counts}", flush=True)

    compared = sum(equal.values()) - equal["new"] - equal["gone"]
    changed = equal["regressed"] + equal["improved"] + equal["status changed"]
    is_quiet = changed <= 0.01 * compared
    can_tell = equal["cannot tell"] <= 0.10 * compared
    print(f"\nequal runs: {compared} comparisons of a cell")
    print(f"  changed      {changed:6} {changed / compared:7.2%}  (at most 1%)")
    print(f"  cannot tell  {equal['cannot tell']:6} {equal['cannot tell'] / compared:7.2%}  (at most 10%)")

    every = WORK / "every.jsonl"
    lab.json("export", "--format", "jsonl", "--all", "--db", "equal.sqlite", "--output", every)
    own = medians(every)
    together = WORK / "slower.jsonl"
    together.write_text("".join(path.read_text() for path in WORK.glob("slower-*.jsonl")))
    moved = {cell: time / own[cell] - 1 for cell, time in medians(together).items() if cell in own}
    print("slower kernel: cells by what their own median moved by, and how often that was found")
    share = None
    for low, high in [(0.20, float("inf")), (0.15, 0.20), (0.10, 0.15), (0.05, 0.10), (-1.0, 0.05)]:
        cells = [cell for cell, by in moved.items() if low <= by < high]
        hits = sum(cell in one for one in found for cell in cells)
        here = hits / (len(cells) * len(found)) if cells else None
        promised = low == 0.20
        share = here if promised else share
        text = "" if here is None else f"{here:7.1%}" + ("  (at least 90%)" if promised else "")
        print(f"  {low:5.0%} to {high:4.0%}  {len(cells):5} cells {text}")
    if share is None:
        sys.exit("no cell moved by 20%: the kernel is too small a part of these cases")
    sys.exit(0 if is_quiet and can_tell and share >= 0.90 else 1)


if __name__ == "__main__":
    main()
