#!/usr/bin/env python3
"""Counts the instructions of each piece of work under callgrind, and compares them with the last figures.

    tests/micro/instructions.py PROGRAM            compares with instructions.json
    tests/micro/instructions.py PROGRAM --store    writes it

Instructions, not time: on a busy machine they are the same. What the kernel does is not in them. A rise of over
5 % ends with 1; a fall of over 5 % asks to store the new figures. Another compiler gives other figures: then all
is told and nothing fails. Standard library only.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FIGURES = pathlib.Path(__file__).with_name("instructions.json")
MOST = 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--figures", type=pathlib.Path, default=FIGURES)
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("instructions: `valgrind` is missing (Debian: apt install valgrind)")
    now = {"rustc": output(["rustc", "--version"]), "instructions": counts(options.program)}
    if options.store:
        options.figures.write_text(json.dumps(now, indent=2) + "\n")
        print(f"stored in {options.figures}")
        return
    sys.exit(compare(json.loads(options.figures.read_text()), now))


def counts(program):
    """Instructions of one time, by the name of the work."""
    works = [line.split() for line in output([program]).splitlines()]
    with tempfile.TemporaryDirectory(prefix="instructions-") as directory:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            counted = pool.map(lambda work: count(program, work[0], directory), works)
            return {name: round(number / int(times))
                    for (name, times), number in zip(works, counted)}


def count(program, name, directory):
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         "--toggle-collect=*counted_work*", program, name, directory],
        capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found or int(found[1]) == 0:
        sys.exit(f"instructions: {name} could not be counted:\n{done.stderr}")
    return int(found[1])


def compare(before, now):
    """Prints the table; the exit code."""
    same_compiler = before["rustc"] == now["rustc"]
    risen, fallen = [], []
    for name in sorted({*before["instructions"], *now["instructions"]}):
        old, new = before["instructions"].get(name), now["instructions"].get(name)
        if old is None or new is None:
            risen.append(f"{name}: {old} stored, {new} now: store the figures (`make instructions-store`)")
            continue
        change = new / old - 1
        print(f"{name:28} {old:>13,} {new:>13,} {100 * change:+7.2f} %")
        if change > MOST:
            risen.append(f"{name}: {old:,} -> {new:,} instructions ({100 * change:+.1f} %)")
        if change < -MOST:
            fallen.append(name)
    if fallen:
        print(f"over 5 % less: {', '.join(fallen)}: store the new figures (`make instructions-store`)")
    if not risen:
        return 0
    if not same_compiler:
        print(f"counted with {now['rustc']}, stored with {before['rustc']}: not comparable, so nothing fails. "
              "Where the code is the same, store the new figures (`make instructions-store`)")
    print("\n".join(["over 5 % more:"] + risen), file=sys.stderr)
    return 1 if same_compiler else 0


def output(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
