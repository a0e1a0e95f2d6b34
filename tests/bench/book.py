"""The figures of a run: every round of each, and what they were taken from."""

import statistics
import subprocess
import time

import figures
from host import ROOT, machine, run_text, say


class Book:
    def __init__(self):
        self.rounds = {}
        self.head = {}

    def describe(self, binary, bao, **settings):
        """What the figures hold for."""
        self.head = {
            "date": time.strftime("%Y-%m-%d"),
            "commit": commit(),
            "machine": machine(),
            "versions": {
                "secrets-sync": run_text([binary, "version"]).splitlines()[0],
                "bao": run_text([bao, "version"]).splitlines()[0],
            },
            "settings": settings,
        }
        self.add("size", "secrets-sync", 0, binary.stat().st_size)
        self.add("size", "bao agent", 0, bao.stat().st_size)

    def add(self, figure, program, n, value, transport="tls", target="disk"):
        """One round; None where it was given up."""
        self.rounds.setdefault((figure, program, n, transport, target), []).append(value)

    def of(self, figure, program, n, transport="tls", target="disk"):
        """Its rounds so far."""
        return self.rounds.get((figure, program, n, transport, target), [])

    def median(self, figure, program, n, transport="tls", target="disk"):
        return median(self.of(figure, program, n, transport, target))

    def write(self, file):
        rows = []
        for (figure, program, n, transport, target), rounds in self.rounds.items():
            rows.append({
                "figure": figure, "program": program, "n": n, "transport": transport,
                "target": target, "median": median(rounds),
                "rounds": [value if value is None else digits(value) for value in rounds],
            })
        figures.write(file, self.head, rows)
        say(f"\n{file}: {len(rows)} figures")


def median(rounds):
    """None where a round was given up."""
    if not rounds or None in rounds:
        return None
    return digits(statistics.median(rounds))


def digits(value):
    """More than six of them say nothing; whole numbers stay as they are."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def commit():
    """What was measured; `changed` where the sources are not those of that commit."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)

    name = git("rev-parse", "--short=12", "HEAD").stdout.strip() or "unknown"
    changed = git("status", "--porcelain", "--", "src", "build.rs", "Cargo.toml", "Cargo.lock")
    return name + (" changed" if changed.stdout.strip() else "")
