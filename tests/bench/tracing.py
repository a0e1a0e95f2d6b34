#!/usr/bin/env python3
"""What traces cost: processor time and memory of the daemon with them and without, side by side.

    python3 tests/bench/tracing.py --binary target/static/secrets-sync

Starts an OpenBao over TLS, and a receiver that takes all that comes and looks at nothing. By turns the
daemon reads 100 secrets a second with traces and without. Ends with 1 where traces take more than 5 % of
a core. Standard library only.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from contenders import Ours, Work
from host import (
    PATIENCE, ROOT, end, end_with_the_script, find_bao, find_binary, machine, memory, processor, say,
    spawn,
)
from server import Server

MOST_PERCENT = 5.0


class Traced(Ours):
    """With further variables."""

    def __init__(self, program, work, name, variables):
        self.variables = variables
        super().__init__(program, work, name)

    def prepare(self, program):
        command, environment = super().prepare(program)
        return command, {**environment, **self.variables}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/static/secrets-sync")
    parser.add_argument("--bao", help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, default=100, help="each is read once a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    options = parser.parse_args()
    options.binary = find_binary(options.binary)
    end_with_the_script()
    say(machine())
    receiver = spawn([sys.executable, ROOT / "tests/tracing/receiver.py", "--discard"],
                     stdout=subprocess.PIPE)
    port = int(receiver.stdout.readline())
    with tempfile.TemporaryDirectory(prefix="secrets-sync-bench-") as directory:
        with Server(options.bao or find_bao(), pathlib.Path(directory)) as server:
            server.fill(options.secrets)
            kept = compare(options, server, pathlib.Path(directory), f"http://127.0.0.1:{port}")
    end(receiver)
    sys.exit(0 if kept else 1)


def compare(options, server, directory, endpoint):
    kinds = {
        "without traces": {},
        "with all traces": {"ENABLE_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
    }
    runs = {name: [] for name in kinds}
    for number in range(options.rounds):
        for name in sorted(kinds, reverse=number % 2 == 0):
            home = f"{number} {name}".replace(" ", "-")
            runs[name].append(run(options, server, directory, home, kinds[name]))
    say(f"{options.secrets} secrets, each read once a second, {options.seconds:.0f} s; medians of "
        f"{options.rounds} runs by turns")
    for name, of_kind in runs.items():
        percent, rate, resident = (statistics.median(column) for column in zip(*of_kind))
        say(f"  {name}: {percent:.2f} % of one core, {rate:.1f} reads a second, {resident:.1f} MiB")
    # Of each round the two that stand side by side, for 100 reads a second.
    costs = [[100 * percent / rate for percent, rate, _ in runs[name]] for name in kinds]
    more = [on - off for off, on in zip(*costs)]
    ratio = statistics.median(on / off for off, on in zip(*costs))
    percent = statistics.median(more)
    say(f"  traces, at 100 reads a second: {percent:.2f} % of one core ({min(more):.2f} to "
        f"{max(more):.2f}), {ratio:.2f} times as much as without")
    return percent < MOST_PERCENT


def run(options, server, directory, home, variables):
    """Per cent of a core, reads a second, MiB."""
    work = Work(server, directory, options.secrets, interval="1s")
    with Traced(options.binary, work, home, variables) as daemon:
        if daemon.all_files(PATIENCE) is None:
            sys.exit(f"bench: no files:\n{daemon.tell()}")
        time.sleep(2)
        before, begin, used = server.counts(), time.monotonic(), processor(daemon.pid)
        time.sleep(options.seconds)
        used, seconds = processor(daemon.pid) - used, time.monotonic() - begin
        rate = server.counts_since(before)["reads"] / seconds
        return 100 * used / seconds, rate, memory(daemon.pid)[0] / 1024


if __name__ == "__main__":
    main()
