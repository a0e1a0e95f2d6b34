#!/usr/bin/env python3
"""`secrets-sync` beside `bao agent`: the same work, the same server, by turns.

    python3 tests/bench/bench.py --binary target/static/secrets-sync

Starts an OpenBao of its own, takes every figure in interleaved rounds, and writes them as JSON;
`page.py` makes the documentation of it. How each is measured stands in docs/performance.md.
Standard library only, and for the floor `wrk` and the program of `make floor`.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import tempfile
import time

import floor
import outages
from book import Book
from contenders import AGENT, OURS
from host import ROOT, end_with_the_script, file_system, find_bao, find_binary, say
from measures import REFRESHED, Bench, title
from server import Server

DISK = pathlib.Path("/var/tmp")
TMPFS = pathlib.Path("/dev/shm")


def main():
    options = parse_options()
    end_with_the_script()
    began = time.monotonic()
    book = Book()
    with contextlib.ExitStack() as stack:
        places = {"disk": directory(stack, DISK)}
        if os.access(TMPFS, os.W_OK) and file_system(TMPFS) == "tmpfs":
            places["tmpfs"] = directory(stack, TMPFS)
        book.describe(options.programs[OURS], options.programs[AGENT], rounds=options.rounds,
                      sizes=options.sizes, disk=file_system(places["disk"]))
        say(f"{book.head['versions']}\n{book.head['machine']}")
        server = stack.enter_context(Server(options.programs[AGENT], places["disk"]))
        options.programs = copies(options.programs, places["disk"])
        server.fill(max(options.sizes))
        bench = Bench(options, server, book, places)
        measure(bench)
        if options.outage:
            title(f"an outage of {options.outage:.0f} s")
            outages.measure_into(book, "outage", outages.Plan(
                options.programs, places["disk"], shortest=options.outage, longest=options.outage,
                servers=2, outages=1))
    book.write(options.json)
    say(f"took {(time.monotonic() - began) / 60:.1f} minutes")


def measure(bench):
    rounds, few = bench.options.rounds, (bench.options.rounds + 1) // 2
    places = sorted(bench.places, reverse=True)  # that for secrets first
    title("floor")
    floor.wait_for_disk(bench, bench.options.calm)
    floor.check_disk(bench)
    floor.reads(bench, min(2, rounds))
    floor.reads_one_by_one(bench, few)
    for target in places:
        bench.start_up("tls", target, rounds)
    floor.check_disk(bench)
    bench.start_up("plain", bench.place, few)
    bench.at_rest(min(2, rounds))
    bench.idle()
    for target in places:
        if target == "disk":
            # Not after them: files that are replaced are deleted.
            floor.check_disk(bench)
        bench.refreshes(target, REFRESHED)
    bench.delay()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/static/secrets-sync")
    parser.add_argument("--floor", type=pathlib.Path, default=ROOT / "target/static/floor",
                        help="the program that `make floor` makes")
    parser.add_argument("--bao", help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "target/performance.json")
    parser.add_argument("--sizes", default="1 10 100 1000", help="numbers of secrets")
    parser.add_argument("--agent-most", type=int, default=1000, help="larger sizes are for secrets-sync alone")
    parser.add_argument("--rounds", type=int, default=7, help="of the start; other figures have fewer")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for a start, then it is given up")
    parser.add_argument("--calm", type=float, default=360.0,
                        help="seconds to wait for a disk that is slow after deletions")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds from the last file to what is called rest")
    parser.add_argument("--idle", type=float, default=25.0, help="seconds of idleness")
    parser.add_argument("--window", type=float, default=10.0, help="seconds in which refreshes are counted, about")
    parser.add_argument("--wakes", type=int, default=6, help="of the floor of each kind, for each round")
    parser.add_argument("--writes", type=int, default=100, help="on the server, whose delay is taken")
    parser.add_argument("--outage", type=float, default=30.0, help="seconds; 0 for none")
    options = parser.parse_args()
    options.sizes = sorted({int(size) for size in options.sizes.split()})
    # What is read a thousand times in a window varies less than what is read ten times.
    options.refreshes = {n: min(2, options.rounds) if n == 1 else 1 for n in REFRESHED}
    options.programs = {OURS: find_binary(options.binary),
                        AGENT: pathlib.Path(options.bao or find_bao())}
    return options


def directory(stack, parent):
    parent.mkdir(exist_ok=True)
    made = tempfile.TemporaryDirectory(prefix="secrets-sync-bench-", dir=parent)
    return pathlib.Path(stack.enter_context(made))


def copies(programs, place):
    """So that each shares its memory with nothing: the agent's program is the server's as well, and on the
    host of a service no server runs."""
    return {name: pathlib.Path(shutil.copy(file, place / file.name)) for name, file in programs.items()}


if __name__ == "__main__":
    main()
