#!/usr/bin/env python3
"""What a secret costs as their number grows: one daemon with 1 to 10,000 secrets.

    python3 tests/bench/scale.py --binary target/static/secrets-sync

Starts an OpenBao, fills it, and for each number of secrets, with all files in one directory and with a
directory for each secret, measures wall and processor time of `validate`, of the start (to the last
file), of a reload with one secret changed and with all changed (to the last new file, and of the work for
it), of a refresh of all (SIGUSR1), of the page of metrics and of the stop (SIGTERM); then threads,
descriptors, mappings and memory, and the processor while idle. Ends with 1 where a secret costs more than
three times as much processor time among the most as among a tenth of them. Standard library only.
"""

import argparse
import contextlib
import datetime
import http.client
import json
import os
import pathlib
import queue
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time

from host import (
    ROOT, end, end_with_the_script, file_system, find_bao, find_binary, free_port, keys, machine, memory, processor,
    say, spawn, wait_until,
)

MOUNT = "scale"
PATIENCE = 300.0
# More than this many times the processor time a secret, for ten times as many, is no straight line.
STRAIGHT = 3.0
# Less processor time than this is what a process costs that does nothing.
FLOOR = 0.02


def main():
    options = parse_options()
    end_with_the_script()
    about = {**machine(), "file_system": file_system(options.dir)}
    say(f"{about['processor']}, {about['cores']} cores, {about['kernel']}, files on {about['file_system']}, "
        f"load {about['load_at_start']} at the start")
    rows = []
    with tempfile.TemporaryDirectory(prefix="secrets-sync-scale-", dir=options.dir) as work:
        work = pathlib.Path(work)
        with Server(options.bao, work, max(options.secrets)) as server:
            for layout in ("one", "each"):
                say(f"\n{LAYOUTS[layout]}: wall/processor in ms\n{HEAD}")
                for count in options.secrets:
                    rounds = options.rounds if count <= 1000 else 1
                    row = typical([Run(options, server, work, count, layout).measure()
                                   for _ in range(rounds)])
                    rows.append(row)
                    say(line(row))
    crooked = judge(rows)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    for text in crooked:
        say(f"not linear: {text}")
    sys.exit(1 if crooked else 0)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--bao", default=None, help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, nargs="+", default=[1, 10, 100, 1000, 10000])
    parser.add_argument("--rounds", type=int, default=3, help="up to 1,000 secrets; beyond it is one")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds")
    parser.add_argument("--dir", default="/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir(),
                        help="where files are written; default: /dev/shm, for secrets are best kept in memory")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    options = parser.parse_args()
    options.binary = find_binary(options.binary)
    options.bao = options.bao or find_bao()
    options.secrets.sort()
    return options


LAYOUTS = {"one": "all files in one directory", "each": "a directory for each secret"}

# Key, heading, width, how it is shown.
COLUMNS = [
    ("secrets", "secrets", 7, "d"),
    ("validate", "validate", 13, "pair"),
    ("start", "start", 13, "pair"),
    ("reload_one", "reload one", 13, "pair"),
    ("reload_all", "reload all", 13, "pair"),
    ("refresh", "SIGUSR1", 13, "pair"),
    ("stop", "stop", 13, "pair"),
    ("metrics", "/metrics", 13, "pair"),
    ("threads", "threads", 7, "d"),
    ("descriptors", "fds", 4, "d"),
    ("maps", "maps", 6, "d"),
    ("rss", "RSS MiB", 7, ".1f"),
    ("pss", "PSS MiB", 7, ".1f"),
    ("virtual", "virt MiB", 8, ".0f"),
    ("idle", "idle %", 6, ".3f"),
]
HEAD = " ".join(f"{heading:>{width}}" for _, heading, width, _ in COLUMNS)
STEPS = [key for key, _, _, shown in COLUMNS if shown == "pair"]


def line(row):
    """Pairs are wall and processor time, in milliseconds."""
    cells = []
    for key, _, width, shown in COLUMNS:
        value = row[key]
        text = f"{value[0] * 1e3:.0f}/{value[1] * 1e3:.0f}" if shown == "pair" else f"{value:{shown}}"
        cells.append(f"{text:>{width}}")
    return " ".join(cells)


def typical(rows):
    """The median of each figure."""
    row = dict(rows[0], rounds=len(rows))
    for key, _, _, shown in COLUMNS[1:]:
        values = [one[key] for one in rows]
        if shown == "pair":
            row[key] = [statistics.median(part) for part in zip(*values)]
        else:
            row[key] = statistics.median(values)
    return row


def judge(rows):
    """Which steps cost a secret more as there are more."""
    crooked = []
    for layout in LAYOUTS:
        mine = [row for row in rows if row["layout"] == layout and row["secrets"] >= 100]
        for fewer, more in zip(mine, mine[1:]):
            for step in STEPS:
                small, large = (max(row[step][1], FLOOR) / row["secrets"] for row in (fewer, more))
                if large > STRAIGHT * small:
                    crooked.append(f"{step}, {LAYOUTS[layout]}: {large * 1e6:.0f} µs of processor a secret "
                                   f"of {more['secrets']}, {small * 1e6:.0f} µs of {fewer['secrets']}")
    return crooked


class Server:
    """A development OpenBao with `count` secrets in a KV v1 mount."""

    def __init__(self, bao, work, count):
        self.home = work / "server"
        self.home.mkdir()
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = open(self.home / "log", "wb")
        self.count = count
        self.process = spawn(
            [bao, "server", "-dev", f"-dev-listen-address=127.0.0.1:{self.port}",
             "-dev-root-token-id=root", "-dev-no-store-token", "-log-level=error"],
            {"HOME": str(self.home)}, stdout=self.log, stderr=self.log,
        )

    def __enter__(self):
        wait_until(self.answers, "the server to answer")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.call(connection, "POST", f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "1"}})
        numbers = queue.SimpleQueue()
        for number in range(self.count):
            numbers.put(number)
        writers = [threading.Thread(target=self.fill, args=(numbers,)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        return self

    def __exit__(self, *_):
        end(self.process)
        self.log.close()

    def answers(self):
        if self.process.poll() is not None:
            sys.exit("scale: the server ended: " + (self.home / "log").read_text())
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            return self.call(connection, "GET", "sys/health")
        return False

    def fill(self, numbers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.suppress(queue.Empty):
            while True:
                number = numbers.get_nowait()
                self.call(connection, "PUT", f"{MOUNT}/s{number}",
                          {"user": f"user-{number}", "password": f"{number}-" + "x" * 100})

    @staticmethod
    def call(connection, method, path, body=None):
        connection.request(method, f"/v1/{path}", json.dumps(body) if body else None,
                           {"X-Vault-Token": "root"})
        answer = connection.getresponse()
        answer.read()
        return answer.status < 300


class Run:
    """One daemon's life."""

    def __init__(self, options, server, work, count, layout):
        self.options, self.server, self.count, self.layout = options, server, count, layout
        self.holder = tempfile.TemporaryDirectory(prefix="run-", dir=work)
        self.home = pathlib.Path(self.holder.name)
        self.config_file = self.home / "config.yaml"
        self.port = free_port()
        self.environment = {
            "STATUS_FILE": str(self.home / "status.json"), "METRICS_PORT": str(self.port),
            "NOTIFY_SOCKET": str(self.home / "notify"),
        }
        self.configure()

    def configure(self, marks=()):
        """All secrets; those in `marks` have another text in their file."""
        marks = set(marks)
        text = [
            "secretStore:", f"  address: {self.server.address}", "  authMethod: token",
            "  token: root", f"  mountPath: {MOUNT}", "  kvVersion: v1",
            f"limits: {{ maxSecrets: {max(self.count, 100)} }}", "secrets:",
        ]
        for number in range(self.count):
            mark = "new " if number in marks else ""
            text += [f"- name: s{number}", f"  key: s{number}", "  refreshInterval: 1h", "  template:",
                     "    data:", f"      t: '{mark}{{{{ .user }}}}:{{{{ .password }}}}'", "  files:",
                     f"  - path: {self.file(number)}", "    template: t"]
        self.config_file.write_text("\n".join(text) + "\n")

    def file(self, number):
        below = "out" if self.layout == "one" else f"out/d{number}"
        return self.home / below / f"s{number}"

    def measure(self):
        """Two lives: a daemon that has just read everything twice may read it no third time at once."""
        row = {"layout": self.layout, "secrets": self.count, "validate": self.validate()}
        with self.holder:
            with self.life():
                row["start"] = [self.newest() - self.begin, processor(self.process.pid)]
                row.update(self.idle())
                row["metrics"] = self.step(self.scrape)
                row["reload_one"] = self.reload([0])
                row["reload_all"] = self.reload(range(1, self.count)) if self.count > 1 else row["reload_one"]
                row.update(room(self.process.pid))
                row["stop"] = self.stop()
            with self.life():
                row["refresh"] = self.refresh()
        return row

    @contextlib.contextmanager
    def life(self):
        path = pathlib.Path(self.environment["NOTIFY_SOCKET"])
        path.unlink(missing_ok=True)
        with open(self.home / "log", "wb") as log, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as self.notify:
            self.notify.bind(str(path))
            self.notify.settimeout(PATIENCE)
            self.begin = time.time()
            self.process = spawn([self.options.binary, "run", "--config", self.config_file],
                                 self.environment, stdout=log, stderr=log)
            try:
                self.told("READY=1")
                yield
            finally:
                end(self.process)

    def validate(self):
        begin = time.monotonic()
        with open(os.devnull, "wb") as nowhere:
            process = spawn([self.options.binary, "validate", "--config", self.config_file],
                            self.environment, stdout=nowhere)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"scale: `validate` ended with {process.returncode}")
        return [time.monotonic() - begin, usage.ru_utime + usage.ru_stime]

    def told(self, word):
        try:
            while word not in self.notify.recv(4096).decode().split("\n"):
                pass
        except TimeoutError:
            sys.exit(f"scale: no {word} in {PATIENCE:.0f} s: " + (self.home / "log").read_text()[-2000:])

    def newest(self):
        """When the last file was put into its place."""
        return max(self.file(number).stat().st_ctime_ns for number in range(self.count)) / 1e9

    def step(self, work):
        """Wall and processor time that the daemon takes for it."""
        begin, before = time.time(), processor(self.process.pid)
        end = work()
        return [(end or time.time()) - begin, processor(self.process.pid) - before]

    def reload(self, marks):
        self.marked = getattr(self, "marked", set()) | set(marks)
        self.configure(self.marked)
        awaited = [self.file(number) for number in marks]

        def work():
            self.process.send_signal(signal.SIGHUP)
            self.told("READY=1")
            wait_until(lambda: all(file.read_bytes().startswith(b"new ") for file in reversed(awaited)),
                       "the new files", patience=PATIENCE)
            return self.newest() if awaited else None

        taken = self.step(work)
        self.settle()
        return taken

    def refresh(self):
        """All are read again; nothing is written. When the last was done is read from the status file."""
        before, begin = processor(self.process.pid), time.time()
        self.process.send_signal(signal.SIGUSR1)
        since = datetime.datetime.fromtimestamp(begin, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")
        done = []

        def all_again():
            with contextlib.suppress(OSError, ValueError):
                secrets = json.loads((self.home / "status.json").read_text())["secrets"]
                done[:] = [secret["last_success"] or "" for secret in secrets]
                return min(done) > since
            return False

        wait_until(all_again, "all to be read again", patience=PATIENCE, pause=0.2)
        last = datetime.datetime.fromisoformat(max(done).rstrip("Z")).replace(tzinfo=datetime.timezone.utc)
        self.settle()
        return [last.timestamp() - begin, processor(self.process.pid) - before]

    def settle(self):
        """Until it does nothing any more."""
        last, since = processor(self.process.pid), time.monotonic()
        while time.monotonic() < since + 1.2:
            time.sleep(0.05)
            now = processor(self.process.pid)
            # What it costs to look after them once a second is not work.
            if now - last > 0.002 + self.count * 2e-6:
                since = time.monotonic()
            last = now

    def scrape(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        self.page = len(connection.getresponse().read())

    def idle(self):
        self.settle()
        begin, before = time.monotonic(), processor(self.process.pid)
        time.sleep(self.options.idle)
        used = processor(self.process.pid) - before
        return {"idle": 100 * used / (time.monotonic() - begin)}

    def stop(self):
        before, begin = processor(self.process.pid), time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self.process.pid, 0)
        took = time.monotonic() - begin
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            sys.exit(f"scale: the daemon ended with {self.process.returncode}")
        return [took, max(0.0, usage.ru_utime + usage.ru_stime - before)]


def room(pid):
    """What a daemon of that many secrets needs of the system."""
    process, (rss, pss) = pathlib.Path(f"/proc/{pid}"), memory(pid)
    status = keys(process / "status")
    return {
        "threads": status["Threads"],
        "descriptors": len(os.listdir(process / "fd")),
        "maps": len((process / "maps").read_text().splitlines()),
        "rss": rss / 1024,
        "pss": pss / 1024,
        "virtual": status["VmSize"] / 1024,
    }


if __name__ == "__main__":
    main()
