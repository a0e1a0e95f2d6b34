#!/usr/bin/env python3
"""Coverage of lines, from the LCOV report of `cargo llvm-cov`, without the tests' own lines.

    tests/coverage.py LCOV [--least PERCENT]

Prints a line a room of `src`, the files with the most uncovered lines, and the whole. Unit tests stand
beside the code that they test, and run almost wholly: counted in, they would flatter the figure. So files
below a `tests` directory, files named `tests.rs` and whatever follows `#[cfg(test)]` + `mod` in a file
are left out. Ends with 1 below the least.
"""
import argparse
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*\n(?:\s*#\[[^\n]*\n)*\s*(?:pub(?:\([^)]*\))? )?mod \w+ \{")


def first_test_line(path):
    text = path.read_text(encoding="utf-8")
    found = TEST_MODULE.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else sys.maxsize


def read(report):
    """File to {line: runs}, for lines of the product."""
    files = {}
    lines = None
    end = 0
    for row in report.read_text(encoding="utf-8").splitlines():
        if row.startswith("SF:"):
            path = pathlib.Path(row[3:])
            lines = None
            if path.is_relative_to(SOURCE):
                inner = path.relative_to(SOURCE)
                if "tests" not in inner.parts[:-1] and inner.name not in ("tests.rs", "test.rs"):
                    lines = files.setdefault(inner.as_posix(), {})
                    end = first_test_line(path)
        elif row.startswith("DA:") and lines is not None:
            number, runs = row[3:].split(",")[:2]
            if int(number) < end:
                lines[int(number)] = max(int(runs), lines.get(int(number), 0))
    return {name: lines for name, lines in files.items() if lines}


def share(lines, missed):
    return 100.0 * (lines - missed) / lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--least", type=float, default=0.0)
    arguments = parser.parse_args()
    files = read(arguments.report)
    if not files:
        sys.exit("coverage: the report names no file of src")

    rooms = collections.defaultdict(lambda: [0, 0])
    for name, lines in files.items():
        room = rooms[name.split("/")[0]]
        room[0] += len(lines)
        room[1] += sum(1 for runs in lines.values() if runs == 0)
    print(f"{'room':<14}{'lines':>8}{'missed':>8}{'covered':>9}")
    for name, (lines, missed) in sorted(rooms.items()):
        print(f"{name:<14}{lines:>8}{missed:>8}{share(lines, missed):>8.1f}%")

    print("\nmost lines without a run:")
    missing = {name: [line for line, runs in lines.items() if runs == 0] for name, lines in files.items()}
    for name, lines in sorted(missing.items(), key=lambda item: -len(item[1]))[:12]:
        print(f"  {len(lines):>4} of {len(files[name]):>4}  src/{name}")

    lines = sum(room[0] for room in rooms.values())
    missed = sum(room[1] for room in rooms.values())
    covered = share(lines, missed)
    print(f"\ncoverage of lines, tests not counted: {covered:.1f} % of {lines} (at least {arguments.least:g} %)")
    sys.exit(0 if covered >= arguments.least else 1)


if __name__ == "__main__":
    main()
