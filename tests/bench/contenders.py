"""The two programs that are compared, given the same work: each secret is one read and two files."""

import json
import os
import select
import signal
import sys
import time

from host import PATIENCE, end, processor, spawn
from server import FIELDS, values

OURS, AGENT = "secrets-sync", "bao agent"


class Work:
    """What is to be done: so many secrets, from that address, into that directory, so often."""

    def __init__(self, server, directory, count, transport="tls", interval="1h", credentials=None):
        self.directory, self.count, self.interval = directory, count, interval
        self.address = server.addresses[transport]
        self.ca = server.ca if transport == "tls" else None
        self.role_file, self.secret_file = credentials or (server.role_file, server.secret_file)

    def files(self, out):
        """Those of each secret beside each other."""
        return [out / f"s{number}.{field}" for number in range(self.count) for field in FIELDS]


class Contender:
    """One of the programs, running; `name` is the directory that it makes for itself."""

    def __init__(self, program, work, name):
        self.work = work
        self.home = work.directory / name
        self.out = self.home / "out"
        self.out.mkdir(parents=True)
        self.files = work.files(self.out)
        self.log_path = self.home / "log"
        self.log = open(self.log_path, "wb")
        self.began, self.process = None, None
        self.command, self.environment = self.prepare(program)

    def __enter__(self):
        self.began = time.monotonic()
        self.process = spawn(self.command, self.environment, stdout=self.log, stderr=self.log)
        return self

    def __exit__(self, *_):
        end(self.process)
        self.log.close()

    @property
    def pid(self):
        return self.process.pid

    def all_files(self, patience):
        """Seconds to the last file, and of processor time by then; None where it takes longer.

        Every file is looked for once or twice, each millisecond the next that is missing.
        """
        limit = time.monotonic() + patience
        paths = [str(file) for file in self.files]
        for path in paths:
            while not os.path.exists(path):
                if time.monotonic() > limit:
                    return None
                if self.process.poll() is not None:
                    sys.exit(f"bench: {self.name} ended with {self.process.returncode}:\n{self.tell()}")
                time.sleep(0.001)
        took = time.monotonic() - self.began
        return took, processor(self.pid)

    def verify(self, generation=0):
        for number in range(self.work.count):
            for field, value in values(number, generation).items():
                if (self.out / f"s{number}.{field}").read_text() != value:
                    sys.exit(f"bench: {self.name} wrote a wrong `s{number}.{field}`")

    def stop(self):
        """Seconds from SIGTERM to its end."""
        # `wait` with a limit would only look now and then.
        ended = os.pidfd_open(self.pid)
        try:
            begin = time.monotonic()
            self.process.send_signal(signal.SIGTERM)
            select.select([ended], [], [], PATIENCE)
            took = time.monotonic() - begin
        finally:
            os.close(ended)
        self.process.wait(PATIENCE)
        return took

    def tell(self):
        return self.log_path.read_text(errors="replace")[-3000:]


class Ours(Contender):
    name = OURS

    def prepare(self, program):
        config = self.home / "config.yaml"
        config.write_text(ours_config(self.work, self.out))
        return ([program, "run", "--config", config],
                {"STATUS_FILE": str(self.home / "status.json"), "METRICS_PORT": "0"})


class Agent(Contender):
    name = AGENT

    def prepare(self, program):
        config = self.home / "agent.hcl"
        config.write_text(agent_config(self.work, self.out))
        return [program, "agent", f"-config={config}"], {}


KINDS = {OURS: Ours, AGENT: Agent}


def ours_config(work, out):
    lines = [
        "secretStore:",
        f"  address: {quoted(work.address)}",
        *([f"  tlsCACert: {quoted(work.ca)}"] if work.ca else []),
        "  authMethod: approle",
        f"  roleIdFile: {quoted(work.role_file)}",
        f"  secretIdFile: {quoted(work.secret_file)}",
        f"limits: {{ maxSecrets: {max(100, work.count)} }}",
        "secrets:",
    ]
    for number in range(work.count):
        lines += [f"  - name: s{number}", f"    key: bench/s{number}",
                  f"    refreshInterval: {work.interval}", "    template:", "      data:"]
        lines += [f"        {field}: '{{{{ .{field} }}}}'" for field in FIELDS]
        lines += ["    files:"]
        for field in FIELDS:
            lines += [f"      - path: {quoted(out / f's{number}.{field}')}",
                      f"        template: {field}"]
    return "\n".join(lines) + "\n"


def agent_config(work, out):
    lines = [
        "vault {",
        f"  address = {quoted(work.address)}",
        *([f"  ca_cert = {quoted(work.ca)}"] if work.ca else []),
        "}",
        "auto_auth {",
        '  method "approle" {',
        "    config = {",
        f"      role_id_file_path = {quoted(work.role_file)}",
        f"      secret_id_file_path = {quoted(work.secret_file)}",
        "      remove_secret_id_file_after_reading = false",
        "    }",
        "  }",
        "}",
        "template_config {",
        f"  static_secret_render_interval = {quoted(work.interval)}",
        "}",
    ]
    for number in range(work.count):
        for field in FIELDS:
            body = (f'{{{{ with secret "secret/data/bench/s{number}" }}}}'
                    f"{{{{ .Data.data.{field} }}}}{{{{ end }}}}")
            lines += [
                "template {",
                f"  contents = {quoted(body)}",
                f"  destination = {quoted(out / f's{number}.{field}')}",
                '  perms = "0600"',
                "  error_on_missing_key = true",
                "}",
            ]
    return "\n".join(lines) + "\n"


def quoted(text):
    """As YAML and HCL both read it."""
    return json.dumps(str(text))
