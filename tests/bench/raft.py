"""A server that can be killed and started again, and says which requests it met.

OpenBao on raft, so that what is written survives; an audit file in which every request stands with its
time; an AppRole for each of the programs, by which their requests are told apart, whose tokens live
for two minutes and five at most.
"""

import calendar
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

from host import end, free_port, spawn, wait_until
from server import values

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
LAST = 40 << 20  # bytes of the audit file that are looked through


class Raft:
    def __init__(self, bao, home, roles):
        self.bao, self.home, self.roles = bao, home, roles
        (home / "raft").mkdir(parents=True)
        port = free_port()
        self.addresses = {"plain": f"http://127.0.0.1:{port}"}
        self.token, self.key = "", ""
        text = CONFIG.format(home=home, port=port, cluster=port + 1)
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
        for role in self.roles:
            self.add_role(role)
        return self

    def __exit__(self, *_):
        if self.process:
            end(self.process)
        self.log.close()

    def add_role(self, role):
        path = f"auth/approle/role/{role}"
        self.call(path, {"token_policies": ["bench"], "token_ttl": "2m", "token_max_ttl": "5m"})
        role_id = self.call(f"{path}/role-id")["data"]["role_id"]
        secret_id = self.call(f"{path}/secret-id", {})["data"]["secret_id"]
        for file, value in zip(self.credentials(role), (role_id, secret_id)):
            file.write_text(value)
            file.chmod(0o600)

    def credentials(self, role):
        """The files of role ID and secret ID."""
        return self.home / f"{role}-role-id", self.home / f"{role}-secret-id"

    def start(self):
        self.process = spawn([self.bao, "server", f"-config={self.home}/server.hcl"],
                             {"HOME": str(self.home)}, stdout=self.log, stderr=self.log)

    def kill(self):
        end(self.process)

    def unseal(self):
        wait_until(lambda: self.health() is not None, "the server to answer", self.tell)
        self.call("sys/unseal", {"key": self.key}, "PUT")
        wait_until(lambda: self.health() == 200, "the server to be active", self.tell, pause=0.005)

    def health(self):
        """The status of its health, or None while it does not answer."""
        try:
            with opener().open(f"{self.addresses['plain']}/v1/sys/health", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def call(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.addresses['plain']}/v1/{path}", data, {"X-Vault-Token": self.token},
            method=method or ("GET" if body is None else "POST"))
        with opener().open(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def put(self, number, generation):
        self.call(f"secret/data/bench/s{number}", {"data": values(number, generation)})

    def first_reads(self, since, role):
        """When each secret was first read with success from that moment on, by path."""
        firsts = {}
        file = self.home / "audit"
        with open(file, "rb") as lines:
            lines.seek(max(0, os.path.getsize(file) - LAST))
            for line in lines:
                try:
                    entry = json.loads(line)
                    if entry["type"] != "response" or entry.get("error"):
                        continue
                    by, path = entry["auth"]["metadata"]["role_name"], entry["request"]["path"]
                    at = moment(entry["time"])
                except (ValueError, KeyError, TypeError):
                    continue
                if at >= since and by == role and path.startswith("secret/data/"):
                    firsts.setdefault(path, at)
        return firsts

    def tell(self):
        return (self.home / "log").read_text()[-2000:]


def moment(text):
    """Seconds since the epoch of an RFC 3339 time in UTC, with its fraction."""
    found = re.fullmatch(r"(.{19})(\.\d+)?Z", text)
    if not found:
        sys.exit(f"bench: not a time: {text}")
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + float(found[2] or 0)


def opener():
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
