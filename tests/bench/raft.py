"""A server that can be killed, restarted and sealed, and says which requests it met.

OpenBao on raft, so that what is written survives; an AppRole that may read `secret/data/bench/*`, whose
tokens live for two minutes and five at most; an audit file in which every request stands with its time.
Standard library only.
"""

import calendar
import contextlib
import json
import random
import re
import signal
import sys
import time
import urllib.error
import urllib.request

from startup import free_port, spawn, wait_until

CONFIG = """
storage "raft" {{
  path = "{home}/raft"
  node_id = "n1"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
audit "file" "requests" {{
  options {{
    file_path = "{home}/audit"
  }}
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
log_level = "error"
"""


class Raft:
    def __init__(self, bao, home):
        self.bao, self.home = bao, home
        home.mkdir(parents=True)
        (home / "raft").mkdir()
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.token, self.key = "", ""
        text = CONFIG.format(home=home, port=self.port, cluster=self.port + 1)
        (home / "server.hcl").write_text(text)
        self.log = open(home / "log", "ab")
        self.process = None

    def __enter__(self):
        self.start()
        wait_until(lambda: self.health() is not None, "the server to answer", self.tell)
        made = self.call("sys/init", {"secret_shares": 1, "secret_threshold": 1}, "PUT")
        self.token, self.key = made["root_token"], made["keys_base64"][0]
        self.unseal()
        self.call("sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        self.call("sys/policies/acl/bench",
                  {"policy": 'path "secret/data/bench/*" { capabilities = ["read"] }'})
        self.call("sys/auth/approle", {"type": "approle"})
        self.call("auth/approle/role/bench",
                  {"token_policies": ["bench"], "token_ttl": "2m", "token_max_ttl": "5m"})
        role = self.call("auth/approle/role/bench/role-id")["data"]["role_id"]
        secret = self.call("auth/approle/role/bench/secret-id", {})["data"]["secret_id"]
        self.role_file, self.secret_file = self.home / "role-id", self.home / "secret-id"
        for file, value in ((self.role_file, role), (self.secret_file, secret)):
            file.write_text(value)
            file.chmod(0o600)
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def start(self):
        self.process = spawn([self.bao, "server", f"-config={self.home}/server.hcl"],
                             {"HOME": str(self.home)}, stdout=self.log, stderr=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def seal(self):
        self.call("sys/seal", {}, "PUT")

    def unseal(self):
        wait_until(lambda: self.health() is not None, "the server to answer", self.tell)
        self.call("sys/unseal", {"key": self.key}, "PUT")
        wait_until(lambda: self.health() == 200, "the server to be active", self.tell, pause=0.005)

    def health(self):
        """The status of its health, or None while it does not answer."""
        try:
            with opener().open(f"{self.address}/v1/sys/health", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def call(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", data, {"X-Vault-Token": self.token},
            method=method or ("GET" if body is None else "POST"))
        with opener().open(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def put(self, number, fields):
        self.call(f"secret/data/bench/s{number}", {"data": fields})

    def requests(self):
        """(seconds since the epoch, path) of each request of the daemon, health checks aside."""
        found = []
        with open(self.home / "audit", encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError):
                    entry = json.loads(line)
                    if entry["type"] != "request":
                        continue
                    path = entry["request"]["path"]
                    ours = entry.get("auth", {}).get("display_name") == "approle"
                    if ours or path == "auth/approle/login":
                        found.append((moment(entry["time"]), path))
        return found

    def tell(self):
        return (self.home / "log").read_text()[-2000:]


def moment(text):
    """Seconds since the epoch of an RFC 3339 time in UTC, with its fraction."""
    whole, fraction = re.fullmatch(r"(.{19})(\.\d+)?Z", text).groups()
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(fraction or 0)


def opener():
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fields(number, generation):
    """Whole or not, and of which generation: each shows it."""
    mark = f"s{number} generation {generation:06d} "
    return {"a": ("a of " + mark) * 40, "b": ("b of " + mark) * 60}


def generation_of(text, number, field):
    """The generation of a file's content; ends the run where it is not whole."""
    found = re.match(rf"{field} of s{number} generation (\d{{6}}) ", text)
    if not found or fields(number, int(found[1]))[field] != text:
        sys.exit(f"WRONG CONTENT: s{number}.{field}: {text[:80]!r}, {len(text)} bytes")
    return int(found[1])


def config(server, out, count, interval, extra=()):
    text = [
        "secretStore:",
        f"  address: {server.address}",
        "  authMethod: approle",
        f"  roleIdFile: {server.role_file}",
        f"  secretIdFile: {server.secret_file}",
        "  mountPath: secret",
        "  timeout: 5s",
        "secrets:",
    ]
    for number in range(count):
        every = dict(extra).get(number, interval)
        text += [
            f"  - name: s{number}", f"    key: bench/s{number}", f"    refreshInterval: {every}",
            "    files:", f"      - {{ path: {out}/s{number}.a, field: a }}",
            f"      - {{ path: {out}/s{number}.b, field: b, mode: '0640' }}",
        ]
    return "\n".join(text) + "\n"


def shuffled(count):
    return random.sample(range(count), count)
