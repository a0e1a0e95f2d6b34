#!/usr/bin/env python3
"""Figures of the daemon as a process: idle processor time, the way to its end, many reloads.

    python3 tests/bench/daemon.py --binary target/static/secrets-sync

Starts an OpenBao over TLS and prints figures, each with its n. Ends with 1 where a bound of the
contract is not met: 0.1 % of a core while idle with 100 secrets every five minutes, 200 ms from
SIGTERM to the end while idle, 2 s while the server hangs. Standard library only.
"""

import argparse
import pathlib
import signal
import statistics
import sys
import tempfile
import time

from startup import (
    ROOT, Bench, Daemon, Server, figure, find_bao, milliseconds, proc_status, processor, title,
    wait_until,
)

IDLE_PERCENT, EXIT_IDLE, EXIT_HANGING = 0.1, 0.2, 2.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--bao", default=None, help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, default=100)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds")
    parser.add_argument("--stops", type=int, default=9)
    parser.add_argument("--reloads", type=int, default=200)
    options = parser.parse_args()
    options.binary = str(pathlib.Path(options.binary).resolve())
    options.bao = options.bao or find_bao()
    with tempfile.TemporaryDirectory(prefix="secrets-sync-bench-") as work:
        work = pathlib.Path(work)
        with Server(options.bao, work) as server:
            bench = Bench(options, server, work)
            bench.describe()
            kept = [idle(bench), stops(bench), stops_while_hanging(bench)]
            reloads(bench)
    sys.exit(0 if all(kept) else 1)


def idle(bench):
    count, seconds = bench.options.secrets, bench.options.idle
    title(f"idle with {count} secrets every 5 minutes, from 5 s after all are in sync")
    with Daemon(bench, "idle", count, "5m") as daemon:
        time.sleep(5)
        before = processor(daemon.pid)
        time.sleep(seconds)
        percent = 100 * (processor(daemon.pid) - before) / seconds
    return bound(f"processor for {seconds:.0f} s", f"{percent:.4f} % of one core", 1,
                 percent < IDLE_PERCENT)


def stops(bench):
    title(f"SIGTERM to the end, idle, {bench.options.secrets} secrets")
    took = []
    for _ in range(bench.options.stops):
        with Daemon(bench, "stop", bench.options.secrets, "1h") as daemon:
            took.append(daemon.stop())
    return bound("time", milliseconds(took), len(took), statistics.median(took) < EXIT_IDLE)


def stops_while_hanging(bench):
    """Its token cannot be revoked, and a read of each secret is in flight."""
    title(f"SIGTERM to the end, the server hangs, {bench.options.secrets} secrets")
    took = []
    for _ in range(3):
        with Daemon(bench, "hang", bench.options.secrets, "1s") as daemon:
            bench.server.process.send_signal(signal.SIGSTOP)
            time.sleep(2)
            took.append(daemon.stop())
            bench.server.process.send_signal(signal.SIGCONT)
    return bound("time", milliseconds(took), len(took), max(took) < EXIT_HANGING)


def reloads(bench):
    """By turns with and without half of the secrets."""
    count, half = bench.options.secrets, bench.options.secrets // 2
    number = bench.options.reloads
    title(f"{number} reloads, by turns {count} secrets and {half} of them")
    with Daemon(bench, "reload", count, "1h") as daemon:
        file = daemon.out.parent / "config.yaml"
        bench.config(daemon.out, half, "1h")
        texts = [file.read_text(), bench.config(daemon.out, count, "1h").read_text()]

        def rest():
            wait_until(lambda: daemon.in_sync() and proc_status(daemon.pid, "Threads") == threads,
                       "the daemon to be at rest", daemon.tell)
            return (proc_status(daemon.pid, "Threads"), descriptors(daemon.pid),
                    proc_status(daemon.pid, "VmRSS"))

        threads = proc_status(daemon.pid, "Threads")
        begin, used = time.monotonic(), processor(daemon.pid)
        for done in range(number):
            if done == number // 10 // 2 * 2:
                tell(done, rest())
            file.write_text(texts[done % 2])
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: taken_up(daemon) > done, "the reload", daemon.tell, pause=0.002)
        seconds = time.monotonic() - begin
        tell(number, rest())
        figure("time for each", f"{1000 * seconds / number:.1f} ms", number)
        figure("processor for each, at least",
               f"{1000 * (processor(daemon.pid) - used) / number:.1f} ms", number)


def taken_up(daemon):
    return daemon.log_path.read_text().count('"the new configuration is taken up"')


def descriptors(pid):
    return sum(1 for _ in pathlib.Path(f"/proc/{pid}/fd").iterdir())


def tell(done, figures):
    threads, files, resident = figures
    figure(f"after {done} reloads",
           f"{threads} threads, {files} descriptors, {resident / 1024:.1f} MiB resident", 1)


def bound(name, value, number, kept):
    figure(name, value if kept else f"{value}  TOO MUCH", number)
    return kept


if __name__ == "__main__":
    main()
