"""The server that is read from: an OpenBao that keeps all in memory, over TLS and without.

It counts the requests that it handles (those to `sys/health` aside), and its AppRole `bench` may read
`secret/data/bench/*`.
"""

import contextlib
import http.client
import json
import re
import sys
import threading

from host import end, free_port, spawn, wait_until

FIELDS = ("a", "b")
EXTRA = """
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
telemetry {{
  prometheus_retention_time = "24h"
  disable_hostname = true
}}
"""


class Server:
    def __init__(self, bao, work):
        self.home = work / "server"
        self.home.mkdir()
        tls, plain = free_port(), free_port()
        self.plain = plain
        self.addresses = {"tls": f"https://127.0.0.1:{tls}", "plain": f"http://127.0.0.1:{plain}"}
        # As HOST:PORT.
        self.tls_place, self.plain_place = f"127.0.0.1:{tls}", f"127.0.0.1:{plain}"
        self.ca = self.home / "vault-ca.pem"
        extra = self.home / "extra.hcl"
        extra.write_text(EXTRA.format(port=plain))
        self.log = open(self.home / "log", "wb")
        self.filled = 0
        self.lines = threading.local()
        self.process = spawn(
            [
                bao, "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={self.home}",
                f"-dev-listen-address=127.0.0.1:{tls}", "-dev-root-token-id=root",
                "-dev-no-store-token", "-log-level=error", f"-config={extra}",
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
        end(self.process)
        self.log.close()

    def answers(self):
        if self.process.poll() is not None:
            sys.exit("bench: the server ended: " + (self.home / "log").read_text()[-2000:])
        with contextlib.suppress(OSError):
            return bool(self.call("sys/health")) and self.ca.exists()
        return False

    def call(self, path, body=None):
        """Over a connection of this thread's own that is kept."""
        text = self.exchange(path, body)
        return json.loads(text) if text else {}

    def exchange(self, path, body=None):
        if not hasattr(self.lines, "line"):
            self.lines.line = http.client.HTTPConnection("127.0.0.1", self.plain, timeout=30)
        line = self.lines.line
        try:
            line.request("GET" if body is None else "POST", f"/v1/{path}",
                         None if body is None else json.dumps(body), {"X-Vault-Token": "root"})
            answer = line.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            line.close()
            raise
        if answer.status >= 400:
            sys.exit(f"bench: the server answered {answer.status} to {path}: {text[:300]!r}")
        return text

    def put(self, number, generation):
        self.call(f"secret/data/bench/s{number}", {"data": values(number, generation)})

    def fill(self, count, afresh=False):
        """The first generation of so many secrets."""
        for number in range(0 if afresh else self.filled, count):
            self.put(number, 0)
        self.filled = max(self.filled, count)

    def counts(self):
        """Requests so far: of all kinds, and reads of secrets. Asking is one of the next ones."""
        page = self.exchange("sys/metrics?format=prometheus").decode()
        counts = {name: int(value) for name, value in
                  re.findall(r"^(vault_\w+)_count (\d+)$", page, re.MULTILINE)}
        handled = sum(counts.get(f"vault_core_handle_{kind}request", 0) for kind in ("", "login_"))
        return {"all": handled, "reads": counts.get("vault_route_read_secret_", 0)}

    def counts_since(self, before):
        now = self.counts()
        return {"all": now["all"] - before["all"] - 1, "reads": now["reads"] - before["reads"]}


def values(number, generation):
    """Some hundred bytes a field, another text in each generation."""
    return {field: f"{field}-{number}-{generation}-" + "x" * 100 for field in FIELDS}
