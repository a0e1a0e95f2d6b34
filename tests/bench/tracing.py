#!/usr/bin/env python3
"""What traces cost: processor time and memory of the daemon with them and without, side by side.

    python3 tests/bench/tracing.py --binary target/static/secrets-sync

Starts an OpenBao over TLS, and a receiver that takes all that comes and looks at nothing. By turns the daemon
reads 100 secrets a second with traces and without; every figure stands with its n. Ends with 1 where
traces take more than 5 % of a core. Standard library only.
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from startup import (
    ROOT, Bench, Daemon, Server, figure, find_bao, free_port, proc_status, processor, title,
)

MOST_PERCENT = 5.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--bao", default=None, help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, default=100, help="each is read once a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    options = parser.parse_args()
    options.binary = str(pathlib.Path(options.binary).resolve())
    options.bao = options.bao or find_bao()
    receiver = subprocess.Popen(
        [sys.executable, ROOT / "tests/tracing/receiver.py", "--discard"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    try:
        port = int(receiver.stdout.readline())
        with tempfile.TemporaryDirectory(prefix="secrets-sync-bench-") as work:
            work = pathlib.Path(work)
            with Server(options.bao, work) as server:
                bench = Bench(options, server, work)
                bench.describe()
                kept = compare(bench, f"http://127.0.0.1:{port}")
    finally:
        receiver.kill()
        receiver.wait()
    sys.exit(0 if kept else 1)


def compare(bench, endpoint):
    options = bench.options
    title(f"{options.secrets} secrets, each read once a second, for {options.seconds:.0f} s, by turns")
    kinds = {
        "without traces": {},
        "with all traces": {"ENABLE_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
    }
    runs = {name: [] for name in kinds}
    for number in range(options.rounds):
        names = list(kinds)
        for name in names if number % 2 == 0 else reversed(names):
            runs[name].append(run(bench, kinds[name]))
    for name, of_kind in runs.items():
        percent, rate, memory = (statistics.median(column) for column in zip(*of_kind))
        figure(f"{name}, processor", f"{percent:.2f} % of one core", len(of_kind))
        figure(f"{name}, reads a second", f"{rate:.1f}", len(of_kind))
        figure(f"{name}, resident memory", f"{memory:.1f} MiB", len(of_kind))
    # Of each round the two that stand side by side, for 100 reads a second.
    off, on = (runs[name] for name in kinds)
    more = [100 * (b[0] / b[1] - a[0] / a[1]) for a, b in zip(off, on)]
    ratio = [(b[0] / b[1]) / (a[0] / a[1]) for a, b in zip(off, on)]
    percent = statistics.median(more)
    figure("traces at 100 reads a second", f"{percent:.2f} % of one core", len(more))
    figure("lowest and highest round", f"{min(more):.2f} and {max(more):.2f} %", len(more))
    figure("processor with, for 1 without", f"{statistics.median(ratio):.2f}", len(ratio))
    return percent < MOST_PERCENT


def run(bench, variables):
    """Per cent of a core, reads a second, MiB."""
    port = free_port()
    variables = {**variables, "METRICS_PORT": str(port)}
    with Daemon(bench, "traced", bench.options.secrets, "1s", variables) as daemon:
        time.sleep(2)
        begin, used, read = time.monotonic(), processor(daemon.pid), reads(port)
        time.sleep(bench.options.seconds)
        used, read = processor(daemon.pid) - used, reads(port) - read
        seconds = time.monotonic() - begin
        return 100 * used / seconds, read / seconds, proc_status(daemon.pid, "VmRSS") / 1024


def reads(port):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    lines = re.findall(r'^secret_fetch_total\{[^}]*status="success"[^}]*\} (\S+)$', text, re.MULTILINE)
    return sum(float(line) for line in lines)


if __name__ == "__main__":
    main()
