#!/usr/bin/env python3
"""How long after an outage of the server all secrets are current again, beside `bao agent`.

    python3 tests/bench/outages.py --binary target/static/secrets-sync

Servers on raft are killed for a random time, started and unsealed; each has a daemon and an agent with
100 secrets that are read each second. A secret is current with its first successful read after the server
is back, as the server's own audit file tells. Prints the wait from the moment the server serves to the
last secret, and for the daemon from the probe that found the server. Several servers run beside each
other. Ends with 1 where the median wait is 8 s or more, or a wait after the probe is over 2 s.
Standard library only.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time

from raft import Raft, config, fields, moment
from startup import ROOT, figure, find_bao, machine, spawn, title, wait_until

MEDIAN, AFTER_PROBE = 8.0, 2.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--bao", default=None, help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, default=100)
    parser.add_argument("--outages", type=int, default=4, help="of each server")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--shortest", type=float, default=30.0, help="seconds")
    parser.add_argument("--longest", type=float, default=150.0, help="seconds")
    parser.add_argument("--no-agent", action="store_true")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    options = parser.parse_args()
    options.binary = str(pathlib.Path(options.binary).resolve())
    options.bao = options.bao or find_bao()
    print(machine(), flush=True)
    rows, errors = [], []
    with tempfile.TemporaryDirectory(prefix="secrets-sync-outages-") as work:
        threads = [threading.Thread(target=guarded, daemon=True,
                                    args=(options, pathlib.Path(work) / str(n), rows, errors))
                   for n in range(options.servers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors or not rows:
        sys.exit(f"outages: {errors}")
    sys.exit(0 if judge(options, rows) else 1)


def guarded(options, home, rows, errors):
    try:
        with Raft(options.bao, home / "server") as server:
            Pair(options, server, home).run(rows)
    except SystemExit as error:
        errors.append(str(error))
    except Exception as error:  # whatever it is, the run has failed
        errors.append(repr(error))


class Pair:
    """A server, the daemon and the agent."""

    def __init__(self, options, server, home):
        self.options, self.server, self.home = options, server, home
        for number in range(options.secrets):
            server.put(number, fields(number, 0))
        # The agent's requests are told apart by its role.
        server.call("auth/approle/role/agent",
                    {"token_policies": ["bench"], "token_ttl": "1h", "token_num_uses": 0})
        server.call("sys/policies/acl/agent",
                    {"policy": 'path "secret/data/bench/*" { capabilities = ["read"] }'})

    def run(self, rows):
        processes = [self.daemon()] + ([] if self.options.no_agent else [self.agent()])
        try:
            wait_until(self.in_sync, "the daemon's first sync", self.tell, 120.0)
            wait_until(self.agent_has_all, "the agent's files", lambda: "", 120.0)
            for _ in range(self.options.outages):
                rows.append(self.outage())
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def outage(self):
        time.sleep(5)
        length = random.uniform(self.options.shortest, self.options.longest)
        self.server.kill()
        time.sleep(length)
        self.server.start()
        self.server.unseal()
        back = time.time()
        ours = self.wait_current(back, "approle", 60.0)
        theirs = None if self.options.no_agent else self.wait_current(back, "agent", 240.0)
        probe = self.probe(back)
        row = {"outage": length, "ours": ours - back,
               "after_probe": ours - probe if probe else None,
               "agent": theirs - back if theirs else None}
        print("  " + ", ".join(f"{k} {v:.2f} s" for k, v in row.items() if v is not None), flush=True)
        return row

    def wait_current(self, back, who, patience):
        end = time.monotonic() + patience
        while True:
            firsts = self.first_reads(back, who)
            if len(firsts) == self.options.secrets:
                return max(firsts.values())
            if time.monotonic() > end:
                return back + patience
            time.sleep(0.25)

    def first_reads(self, back, who):
        firsts = {}
        with open(self.server.home / "audit", "rb") as lines:
            lines.seek(max(0, os.path.getsize(self.server.home / "audit") - (40 << 20)))
            for line in lines:
                try:
                    entry = json.loads(line)
                    if entry["type"] != "response" or entry.get("error"):
                        continue
                    role = entry["auth"]["metadata"]["role_name"]
                    path, at = entry["request"]["path"], moment(entry["time"])
                except (ValueError, KeyError, TypeError):
                    continue
                if at >= back and role == ("bench" if who == "approle" else "agent"):
                    if path.startswith("secret/data/"):
                        firsts.setdefault(path, at)
        return firsts

    def probe(self, back):
        """When the daemon's probe found the server, by its log; the start of that probe is a moment earlier."""
        for line in (self.home / "log").read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["msg"].startswith("the store is being tried") and moment(entry["ts"]) >= back - 1:
                return moment(entry["ts"])
        return None

    def daemon(self):
        out = self.home / "out"
        out.mkdir()
        file = self.home / "config.yaml"
        file.write_text(config(self.server, out, self.options.secrets, "1s"))
        with open(self.home / "log", "wb") as log:
            return spawn([self.options.binary, "run", "--config", str(file)],
                         {"STATUS_FILE": str(self.home / "status.json"), "METRICS_PORT": "0"},
                         stdout=log, stderr=log)

    def agent(self):
        out = self.home / "agent"
        out.mkdir()
        role = self.server.call("auth/approle/role/agent/role-id")["data"]["role_id"]
        secret = self.server.call("auth/approle/role/agent/secret-id", {})["data"]["secret_id"]
        (self.home / "agent-role").write_text(role)
        (self.home / "agent-secret").write_text(secret)
        text = [
            f'vault {{ address = "{self.server.address}" }}',
            'auto_auth {\n method "approle" {\n  config = {',
            f'   role_id_file_path = "{self.home}/agent-role"',
            f'   secret_id_file_path = "{self.home}/agent-secret"',
            "   remove_secret_id_file_after_reading = false\n  }\n }\n}",
            'template_config { static_secret_render_interval = "1s" }',
        ]
        for number in range(self.options.secrets):
            body = (f'{{{{ with secret \\"secret/data/bench/s{number}\\" }}}}'
                    "{{ .Data.data.a }}{{ end }}")
            text.append(f'template {{\n contents = "{body}"\n'
                        f' destination = "{out}/s{number}"\n perms = "0600"\n}}')
        file = self.home / "agent.hcl"
        file.write_text("\n".join(text) + "\n")
        with open(self.home / "agent-log", "wb") as log:
            return spawn([self.options.bao, "agent", f"-config={file}"], {}, stdout=log, stderr=log)

    def in_sync(self):
        try:
            status = json.loads((self.home / "status.json").read_text())
            return status["synced_count"] == self.options.secrets
        except (OSError, ValueError):
            return False

    def agent_has_all(self):
        return self.options.no_agent or len(os.listdir(self.home / "agent")) >= self.options.secrets

    def tell(self):
        return (self.home / "log").read_text()[-2000:]


def judge(options, rows):
    title(f"{options.secrets} secrets read each second; outages of {options.shortest:.0f} to "
          f"{options.longest:.0f} s")
    ours = [row["ours"] for row in rows]
    probes = [row["after_probe"] for row in rows if row["after_probe"] is not None]
    agents = [row["agent"] for row in rows if row["agent"] is not None]
    figure("secrets-sync, from the server's return", f"{statistics.median(ours):.2f} s (median; "
           f"{min(ours):.2f} to {max(ours):.2f})", len(ours))
    if probes:
        figure("secrets-sync, from the probe that found it", f"{statistics.median(probes):.2f} s (median; "
               f"{max(probes):.2f} at most)", len(probes))
    if agents:
        figure("bao agent, from the server's return", f"{statistics.median(agents):.2f} s (median; "
               f"{min(agents):.2f} to {max(agents):.2f})", len(agents))
        print(f"  of bao agent's: {statistics.median(ours) / statistics.median(agents):.3f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return statistics.median(ours) < MEDIAN and all(probe <= AFTER_PROBE for probe in probes)


if __name__ == "__main__":
    main()
