#!/usr/bin/env python3
"""How long `convert` takes for 1 000 manifests: in one file, and as a file each.

    python3 tests/bench/convert.py --binary target/static/secrets-sync

Five shapes in turn (fields of one secret, a template over two, a docker configuration, all fields
of a secret, a whole secret), two stores, other kinds between them. Prints the time by the clock of
every round with its median, and the processor time; exit code 1 where the median of that, which
other load hardly changes, is over `--bound` (1 s), or a secret is missing from the output. No server;
standard library only.
"""

import argparse
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

STORES = """\
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: vault}
spec:
  provider:
    vault:
      server: https://vault.example.com:8200
      path: secret
      auth: {tokenSecretRef: {name: token, key: token}}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: lab}
spec:
  provider:
    vault:
      server: https://lab.example.com:8200
      path: kv
      version: v1
      auth: {appRole: {path: approle, roleRef: {name: app, key: id}, secretRef: {name: app, key: secret}}}
"""

HEAD = """\
apiVersion: external-secrets.io/v1beta1
kind: ExternalSecret
metadata:
  name: app-{n}
  namespace: team-{team}
  labels: {{app.kubernetes.io/name: app-{n}}}
spec:
  refreshInterval: 15m
  secretStoreRef: {{name: {store}, kind: ClusterSecretStore}}
  target:
    name: app-{n}
"""

SHAPES = (
    """\
  data:
    - secretKey: username
      remoteRef: {{key: team-{team}/app-{n}, property: username}}
    - secretKey: password
      remoteRef: {{key: team-{team}/app-{n}, property: password, decodingStrategy: None}}
    - secretKey: tls.crt
      remoteRef: {{key: secret/data/team-{team}/tls, property: tls.crt}}
""",
    """\
    template:
      engineVersion: v2
      data:
        DATABASE_URL: "postgres://{{{{ .user }}}}:{{{{ .pass | urlquery }}}}@db-{n}:5432/app"
        config.yaml: |
          {{{{- if .user }}}}
          database: {{{{ .user | quote }}}}
          {{{{- end }}}}
  data:
    - secretKey: user
      remoteRef: {{key: team-{team}/db, property: username}}
    - secretKey: pass
      remoteRef: {{key: team-{team}/app-{n}, property: password}}
""",
    """\
    template:
      type: kubernetes.io/dockerconfigjson
      data:
        .dockerconfigjson: '{{"auths":{{"r":{{"auth":"{{{{ printf "%s:%s" .user .pass | b64enc }}}}"}}}}}}'
  data:
    - secretKey: user
      remoteRef: {{key: registry/app-{n}, property: user}}
    - secretKey: pass
      remoteRef: {{key: registry/app-{n}, property: password}}
""",
    """\
  dataFrom:
    - extract: {{key: team-{team}/app-{n}, conversionStrategy: Default}}
""",
    """\
  data:
    - secretKey: config.json
      remoteRef: {{key: /team-{team}/app-{n}}}
""",
)

OTHER = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings-{n}}}
data: {{url: "https://example.com/{n}"}}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--manifests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bound", type=float, default=1.0, help="seconds; 0 for none")
    options = parser.parse_args()
    documents = [manifest(number) for number in range(options.manifests)]
    print(f"machine: {platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}")
    missed = False
    with tempfile.TemporaryDirectory(prefix="secrets-sync-bench-") as work:
        work = pathlib.Path(work)
        single = work / "all.yaml"
        single.write_text("---\n".join([STORES, *documents]), encoding="utf-8")
        many = work / "manifests"
        for number, text in enumerate(documents):
            directory = many / f"team-{number % 20}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"app-{number}.yaml").write_text(text, encoding="utf-8")
        (many / "stores.yaml").write_text(STORES, encoding="utf-8")
        for label, source in (("one file", single), ("a file each", many)):
            rounds = [convert(options, source, work) for _ in range(options.rounds)]
            took, busy = (statistics.median(column) for column in zip(*rounds))
            shown = " ".join(f"{clock * 1000:.0f}" for clock, _ in rounds)
            print(
                f"{options.manifests} manifests, {label}: median {took * 1000:.0f} ms "
                f"(n = {options.rounds}: {shown}), processor {busy * 1000:.0f} ms"
            )
            missed |= 0 < options.bound <= busy
    return 1 if missed else 0


def manifest(number):
    values = {"n": number, "team": number % 20, "store": "lab" if number % 7 == 0 else "vault"}
    text = (HEAD + SHAPES[number % len(SHAPES)]).format(**values)
    if number % 4 == 0:
        text += "---\n" + OTHER.format(**values)
    return text


def convert(options, source, work):
    """Seconds of one run by the clock and of the processor; every manifest must be a secret of what comes out."""
    output = work / "config.yaml"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(
        [os.path.abspath(options.binary), "convert", str(source), "-o", str(output)],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
    )
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0 or f"{options.manifests} secrets converted, 0 left out" not in done.stderr:
        sys.exit(f"exit code {done.returncode}: {done.stderr[-400:]}")
    return took, busy


if __name__ == "__main__":
    sys.exit(main())
