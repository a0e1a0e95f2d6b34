#!/usr/bin/env python3
"""A long run with everything going wrong, after which nothing has grown and every file is right.

    python3 tests/bench/soak.py --binary target/static/secrets-sync --seconds 600

100 secrets of two files, refreshed each second, while their values change, readers read, the server is
killed, frozen and sealed, tokens end, and the configuration is reloaded 200 times. Prints resident
memory, threads and descriptors over time. Ends with 1 where they grew, a reader saw a file that is not
whole or not of its mode, the server met more requests than the rate limit allows, or a file is not
right within 15 s after the last trouble. Standard library only.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import stat
import sys
import tempfile
import threading
import time

from raft import Raft, config, fields, generation_of, shuffled
from startup import ROOT, figure, find_bao, machine, proc_status, spawn, title, wait_until

MODES = {"a": 0o600, "b": 0o640}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--bao", default=None, help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--secrets", type=int, default=100)
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--troubles", type=int, default=10)
    options = parser.parse_args()
    options.binary = str(pathlib.Path(options.binary).resolve())
    with tempfile.TemporaryDirectory(prefix="secrets-sync-soak-") as work:
        with Raft(options.bao or find_bao(), pathlib.Path(work) / "server") as server:
            sys.exit(0 if Soak(options, server, pathlib.Path(work)).run() else 1)


class Soak:
    def __init__(self, options, server, work):
        self.options, self.server, self.work = options, server, work
        self.out = work / "out"
        self.out.mkdir()
        self.file = work / "config.yaml"
        self.status = work / "status.json"
        # What a file may hold at the end: what the server took, and what it may have taken.
        self.allowed = [{0} for _ in range(options.secrets)]
        self.reads = self.reloads = self.rotations = 0
        self.over, self.calm, self.done = (threading.Event() for _ in range(3))
        self.wrong = []
        self.samples = []

    def run(self):
        options = self.options
        print(machine())
        for number in range(options.secrets):
            self.server.put(number, fields(number, 0))
        self.write_config({})
        with open(self.work / "log", "wb") as log:
            self.daemon = spawn(
                [options.binary, "run", "--config", str(self.file)],
                {"STATUS_FILE": str(self.status), "METRICS_PORT": "0", "INITIAL_BACKOFF": "500ms"},
                stdout=log, stderr=log)
        try:
            wait_until(self.in_sync, "the first sync", self.tell)
            return self.soak()
        finally:
            self.over.set()
            self.done.set()
            self.daemon.kill()
            self.daemon.wait()

    def soak(self):
        begun = time.time()
        threads = [threading.Thread(target=self.guarded, args=(body,), daemon=True)
                   for body in (self.rotate, self.read, self.reload, self.trouble)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self.options.seconds
        while time.monotonic() < end and not self.wrong and self.daemon.poll() is None:
            time.sleep(min(2.0, self.options.seconds / 30))
            self.sample(time.time() - begun)
        self.over.set()
        for thread in threads[:-1]:
            thread.join(60)
        self.calm.wait(60)
        kept = [self.check(self.daemon.poll() is None, "the daemon lives")]
        kept.append(self.check(not self.wrong, f"no thread of this script met an error {self.wrong}"))
        calm = time.monotonic()
        wait_until(self.all_right, "all files to be right", self.tell, 15.0)
        figure("all files right after the last trouble", f"{time.monotonic() - calm:.1f} s", 1)
        time.sleep(2)
        self.sample(time.time() - begun)
        return all(kept + self.judge(begun))

    def guarded(self, body):
        try:
            body()
        except SystemExit as error:
            self.wrong.append(str(error))
        except Exception as error:  # whatever it is, the run has failed
            self.wrong.append(f"{body.__name__}: {error!r}")

    # What goes on meanwhile.

    def rotate(self):
        while not self.over.wait(0.02):
            number = random.randrange(self.options.secrets)
            generation = max(self.allowed[number]) + 1
            self.allowed[number].add(generation)
            try:
                self.server.put(number, fields(number, generation))
                self.allowed[number] = {generation}
                self.rotations += 1
            except OSError:
                self.over.wait(0.2)

    def read(self):
        seen = {}
        while not self.over.is_set():
            for number in shuffled(self.options.secrets):
                for field, mode in MODES.items():
                    with open(self.out / f"s{number}.{field}", encoding="utf-8") as file:
                        found = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                        generation = generation_of(file.read(), number, field)
                    if found != mode:
                        sys.exit(f"WRONG MODE: s{number}.{field}: {found:o}")
                    if generation < seen.get((number, field), 0):
                        sys.exit(f"WENT BACK: s{number}.{field} to {generation}")
                    seen[number, field] = generation
                    self.reads += 1
            self.over.wait(0.01)

    def reload(self):
        pause = 0.9 * self.options.seconds / self.options.reloads
        while self.reloads < self.options.reloads and not self.over.wait(pause):
            some = random.sample(range(self.options.secrets), 5)
            self.write_config({number: random.choice(("1s", "1500ms")) for number in some})
            self.daemon.send_signal(signal.SIGHUP)
            self.reloads += 1

    def trouble(self):
        pause = self.options.seconds / (self.options.troubles + 1)
        kinds = [self.killed, self.frozen, self.sealed]
        for number in range(self.options.troubles):
            if self.over.wait(0.6 * pause):
                break
            kinds[number % len(kinds)](random.uniform(0.1, 0.3) * pause)
        self.calm.set()
        # A server that this thread started ends with it.
        self.done.wait()

    def killed(self, seconds):
        self.server.kill()
        self.over.wait(seconds)
        self.server.start()
        self.server.unseal()

    def frozen(self, seconds):
        self.server.freeze()
        self.over.wait(seconds)
        self.server.go_on()

    def sealed(self, seconds):
        self.server.seal()
        self.over.wait(seconds)
        self.server.unseal()

    # What is seen.

    def sample(self, at):
        pid = self.daemon.pid
        with contextlib.suppress(OSError):
            self.samples.append((at, proc_status(pid, "VmRSS"), proc_status(pid, "Threads"),
                                 len(os.listdir(f"/proc/{pid}/fd"))))

    def in_sync(self):
        with contextlib.suppress(OSError, ValueError, KeyError):
            status = json.loads(self.status.read_text())
            return status["ready"] and status["synced_count"] == self.options.secrets
        return False

    def all_right(self):
        for number, allowed in enumerate(self.allowed):
            for field in MODES:
                text = (self.out / f"s{number}.{field}").read_text()
                if generation_of(text, number, field) not in allowed:
                    return False
        return self.in_sync()

    def judge(self, begun):
        title("over time: seconds, resident KiB, threads, descriptors")
        step = max(1, len(self.samples) // 12)
        for at, memory, threads, descriptors in self.samples[::step]:
            print(f"  {at:7.0f} {memory:8} {threads:5} {descriptors:5}")
        third = len(self.samples) // 3
        early, late = self.samples[third:2 * third], self.samples[2 * third:]
        grown = [max(row[kind] for row in late) - max(row[kind] for row in early)
                 for kind in (1, 2, 3)]
        title("the last third against the one before")
        figure("resident memory, growth of its peak", f"{grown[0]} KiB", len(late))
        figure("threads, growth", grown[1], len(late))
        figure("descriptors, growth", grown[2], len(late))
        title("what was done")
        figure("rotations", self.rotations, 1)
        figure("reads of whole files, with their modes", self.reads, 1)
        figure("reloads", self.reloads, 1)
        requests = sorted(at for at, _ in self.server.requests() if at >= begun)
        rate, burst = 2 * self.options.secrets + 20, 2 * self.options.secrets
        most = {span: busiest(requests, span) for span in (1, 10)}
        figure("requests, the most in a second", most[1], len(requests))
        figure("requests, the most in ten seconds", most[10], len(requests))
        base = max(row[1] for row in early)
        return [
            self.check(grown[0] <= max(1024, base // 10), "memory is flat"),
            self.check(grown[1] <= 5, "threads are flat"),
            self.check(grown[2] <= 10, "descriptors are flat"),
            self.check(most[1] <= rate + burst, f"at most {rate + burst} requests in a second"),
            self.check(most[10] <= 10 * rate + burst, f"at most {10 * rate + burst} in ten seconds"),
            self.check(self.reloads >= 0.9 * self.options.reloads, "the reloads were made"),
        ]

    def check(self, holds, what):
        print(f"  {'holds' if holds else 'BROKEN'}: {what}", flush=True)
        return holds

    def write_config(self, extra):
        text = config(self.server, self.out, self.options.secrets, "1s", extra.items())
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)

    def tell(self):
        lines = []
        for number, allowed in enumerate(self.allowed):
            for field in MODES:
                with contextlib.suppress(OSError):
                    text = (self.out / f"s{number}.{field}").read_text()
                    if generation_of(text, number, field) not in allowed:
                        lines.append(f"s{number}.{field}: {text[:40]}, not {allowed}")
        with contextlib.suppress(OSError, ValueError, KeyError):
            for secret in json.loads(self.status.read_text())["secrets"]:
                if secret["state"] != "in_sync":
                    lines.append(json.dumps(secret))
        return "\n".join(lines[:10]) + "\n" + (self.work / "log").read_text()[-2000:]


def busiest(moments, span):
    """The most of these moments within so many seconds."""
    most = first = 0
    for last, at in enumerate(moments):
        while at - moments[first] > span:
            first += 1
        most = max(most, last - first + 1)
    return most


if __name__ == "__main__":
    main()
