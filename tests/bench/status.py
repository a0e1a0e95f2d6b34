#!/usr/bin/env python3
"""What the status and its details cost: sizes of both files, processor time and memory of a daemon
whose secrets are each fetched every 10 s. A server of this script's own answers, so that the daemon's
time is its own. Needs /dev/shm.

    python3 tests/bench/status.py --binary target/static/secrets-sync --secrets 1000 --seconds 280
"""

import argparse
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time

BODY = b'{"lease_id":"","lease_duration":0,"data":{"data":{"x":"value"},"metadata":{"version":1}}}'


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


def configuration(port, count, directory):
    lines = [
        f"secretStore: {{ address: 'http://127.0.0.1:{port}', authMethod: none }}",
        f"limits: {{ maxSecrets: {count} }}",
        "secrets:",
    ]
    lines += [
        f"- {{ name: secret-{n:05}, key: team/app/secret-{n:05}, refreshInterval: 10s, "
        f"files: [{{ path: '{directory}/out/{n}', field: x }}] }}"
        for n in range(count)
    ]
    return "\n".join(lines) + "\n"


def processor_time(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def is_synced(path, count):
    try:
        with open(path) as status:
            return json.load(status)["synced_count"] == count
    except (OSError, ValueError):
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/static/secrets-sync")
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=280)
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        config = os.path.join(directory, "config.yaml")
        status = os.path.join(directory, "status.json")
        with open(config, "w") as file:
            file.write(configuration(server.server_address[1], options.secrets, directory))
        environment = {"CONFIG_FILE": config, "STATUS_FILE": status, "METRICS_PORT": "0"}
        daemon = subprocess.Popen([options.binary], env=environment, stderr=subprocess.DEVNULL)
        try:
            while not is_synced(status, options.secrets):
                time.sleep(0.2)
            before, began, largest = processor_time(daemon.pid), time.monotonic(), 0
            while time.monotonic() - began < options.seconds:
                time.sleep(1)
                largest = max(largest, size(status + ".details"))
            used = (processor_time(daemon.pid) - before) / (time.monotonic() - began)
            print(f"{options.secrets} secrets, {options.secrets / 10:.0f} refreshes a second:")
            print(f"  status         {size(status)} bytes")
            print(f"  details        {largest} bytes at most")
            print(f"  processor time {used:.1%} of a core")
            print(f"  memory         {memory(daemon.pid)} KiB")
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
