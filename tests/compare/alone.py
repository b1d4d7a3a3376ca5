#!/usr/bin/env python3
"""Holds cells that run alone, by the command that their record prints, to the same cells in a matrix.

    tests/compare/alone.py                                the whole default matrix, then twelve cells alone
    tests/compare/alone.py --program fewbit/harness       the same with a packed program
    tests/compare/alone.py -- --models bert llama vit --bits 8 4        a try: what stands behind -- goes
                                                                        to the run of the matrix

The cells are one of each of three classes at 4 bits, on every backend in every browser of the run. What
runs before a cell must not show in its figures. Promised are, of every cell:

    times       the 95% intervals of the two means overlap, for a pass, a pass on the GPU and a decode
                step, over the visits of either run, on the CPU by the yardstick beside them
    sizes       weights and cache are equal, peaks within 1% or 64 KiB
    numbers     all outputs are equal to the last bit

Times to load are not held against each other: alone a cell is cold, and its record says so.

By chance a few intervals part on any machine, so --most may; more of them end the script with 1. It
takes python 3.9, a browser, and a machine that does nothing else meanwhile. Everything is kept below
target/alone.
"""

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target/alone"
SUFFIX = ".exe" if os.name == "nt" else ""


def build():
    """The program of this checkout."""
    subprocess.run(["cargo", "build", "--package", "harness"], cwd=ROOT, check=True)
    return ROOT / f"target/debug/harness{SUFFIX}"


def run(program, name, options):
    """The last record of each cell, which has all its visits. A cell that fails is told by its record."""
    lines = WORK / f"{name}.jsonl"
    command = [program, "--quiet", "run", *options, "--db", f"{name}.sqlite", "--records", lines]
    result = subprocess.run([str(word) for word in command], cwd=WORK, stdout=subprocess.DEVNULL)
    if result.returncode not in (0, 1, 3):
        sys.exit(f"{shlex.join(map(str, command))} ended with {result.returncode}")
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    return list({json.dumps(record["cell"], sort_keys=True): record for record in records}.values())


def chosen(records, classes, bits):
    """The first record of each class at these bits on each backend of each browser."""
    cells = {}
    for record in records:
        cell = record["cell"]
        if cell["class"] in classes and cell["bits"] == bits and cell["browser"] != "host":
            axes = cell.get("axes", {})
            place = (cell["browser"], axes.get("channel", ""), cell["backend"], cell["class"])
            cells.setdefault(place, record)
    return [cells[place] for place in sorted(cells)]


# Student's 97.5% points, by degrees of freedom.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def visits(outcome, samples, yardstick=None):
    """The median of each visit, in yardsticks where there are some."""
    timing = outcome.get("timing") or {}
    values, units = timing.get(samples) or [], timing.get(yardstick) or []
    if values and len(units) == len(values):
        values = [value / unit for value, unit in zip(values, units)]
    counts = timing.get("round_passes") or [len(values)]
    if sum(counts) != len(values):
        return values
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [statistics.median(values[end - count : end]) for count, end in zip(counts, ends) if count]


def decode(outcome):
    """The time of a token in each visit."""
    timing = outcome.get("timing") or {}
    rates, units = timing.get("decode_samples_tps") or [], timing.get("decode_yardstick_ms") or []
    steps = [1e3 / rate for rate in rates]
    return [step / unit for step, unit in zip(steps, units)] if len(units) == len(steps) else steps


def interval(name, values):
    """The 95% interval of the mean of logarithms."""
    if len(values) < 3:
        sys.exit(f"{name}: an interval takes three visits, and there are {len(values)}; see --rounds")
    logs = [math.log(value) for value in values]
    half = STUDENT[min(len(logs) - 1, 9)] * statistics.stdev(logs) / math.sqrt(len(logs))
    return tuple(math.exp(statistics.mean(logs) + side * half) for side in (-1, 0, 1))


def times(name, both):
    """Whether two means agree within their intervals."""
    if not any(both):
        return None
    if not all(both):
        return name, *(f"{len(values)} visits" for values in both), False
    ends = [interval(name, values) for values in both]
    texts = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for low, mean, high in ends]
    overlap = ends[0][0] <= ends[1][2] and ends[1][0] <= ends[0][2]
    return name, *texts, overlap


def within(name, both, share, least=0.0):
    """Whether two numbers are equal but for a share of the larger one, or for so much."""
    if None in both:
        return None if both == [None, None] else (name, *map(str, both), False)
    agree = abs(both[0] - both[1]) <= max(least, share * max(both))
    return name, *(f"{value:.6g}" for value in both), agree


def figures(pair):
    """Every figure that both outcomes have, with whether they agree."""

    def of(part, key):
        return [(outcome.get(part) or {}).get(key) for outcome in pair]

    found = [
        times("pass", [visits(outcome, "samples_ms", "yardstick_ms") for outcome in pair]),
        times("pass on the GPU", [visits(outcome, "gpu_samples_ms") for outcome in pair]),
        times("decode step", [decode(outcome) for outcome in pair]),
    ]
    found += [within(f"{key}, bytes", of("memory", f"{key}_bytes"), 0.0) for key in ("weights", "kv")]
    found += [
        within(f"{key}, bytes", of("memory", f"{key}_bytes"), 0.01, 65_536)
        for key in ("gpu_peak", "wasm_heap")
    ]
    checksums = [outcome.get("checksum") or "none" for outcome in pair]
    found.append(("checksum", *checksums, checksums[0] == checksums[1] != "none"))
    return [figure for figure in found if figure]


def name_of(cell):
    axes = " ".join(f"{axis}={value}" for axis, value in cell.get("axes", {}).items())
    return f"{cell['case']} {cell['bits']}-bit {cell['backend']} {cell['browser']} {axes}".strip()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", type=Path, help="a harness that is built or packed already")
    parser.add_argument("--classes", nargs="+", default=["bert", "llama", "vit"], metavar="CLASS")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=4, help="visits to each cell, 3 at least")
    parser.add_argument("--most", type=int, default=1, metavar="N", help="so many times may part")
    parser.add_argument("options", nargs="*", help="options of `harness run`, behind --")
    args = parser.parse_args()

    WORK.mkdir(parents=True, exist_ok=True)
    for old in [*WORK.glob("*.sqlite*"), *WORK.glob("*.jsonl")]:
        old.unlink(missing_ok=True)
    program = args.program.resolve() if args.program else build()
    matrix = run(program, "matrix", ["--rounds", args.rounds, *args.options])
    cells = chosen(matrix, args.classes, args.bits)
    if not cells:
        sys.exit(f"the matrix has no cell of {' '.join(args.classes)} at {args.bits} bits")
    print(f"{len(matrix)} records in the matrix, {len(cells)} cells alone", flush=True)

    measured, parted, wrong = 0, 0, 0
    for number, within_matrix in enumerate(cells):
        words = shlex.split(within_matrix["repro"])
        command = words[words.index("run") + 1 :]
        alone = run(program, f"alone-{number}", command)
        pair = [within_matrix["outcome"], alone[-1]["outcome"]]
        print(f"\n{name_of(within_matrix['cell'])}\n  {'':18} {'in the matrix':>28} {'alone':>28}")
        statuses = [outcome["status"] for outcome in pair]
        rows = [("status", *statuses, set(statuses) <= {"pass", "flaky"})]
        if rows[0][-1] and alone[-1]["cell"] == within_matrix["cell"]:
            rows += figures(pair)
        elif rows[0][-1]:
            rows.append(("cell", "", name_of(alone[-1]["cell"]), False))
        for figure, before, after, agree in rows:
            print(f"  {figure:18} {before:>28} {after:>28}  {'' if agree else 'APART'}", flush=True)
            if figure in ("pass", "pass on the GPU", "decode step"):
                measured += 1
                parted += not agree
            else:
                wrong += not agree
    print(f"\n{parted} of {measured} times part (at most {args.most} may)")
    print(f"{wrong} sizes, checksums or verdicts are others (none may)")
    sys.exit(0 if parted <= args.most and not wrong else 1)


if __name__ == "__main__":
    main()
