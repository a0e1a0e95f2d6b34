#!/usr/bin/env python3
"""Makes chart and tables of docs/performance.json: docs/performance.svg, docs/performance.md, README.md.

    python3 tests/bench/page.py                                      # writes them anew
    python3 tests/bench/page.py --take target/performance.json       # of the figures of a run
    python3 tests/bench/page.py --check                              # they are what would be written

Standard library only.
"""

import argparse
import pathlib
import statistics
import sys
import textwrap

from chart import chart
from contenders import AGENT, OURS
from figures import Figures, count, megabytes, percent, percentile, ratio, seconds
from host import ROOT

JSON = ROOT / "docs/performance.json"
BEGIN, END = "<!-- made by `make performance` from here -->\n", "<!-- to here -->\n"

# What is promised: for each n at most this part of what the agent needs.
PROMISED = (
    ("time", "time to all files", {1: 4, 100: 4, 1000: 3}),
    ("cpu", "processor time to that point", {1: 8, 100: 8, 1000: 8}),
    ("pss", "memory at rest, PSS", {1: 11, 100: 6, 1000: 4}),
    ("refresh_same", "processor time a refresh, nothing new", {1: 10, 100: 10, 1000: 10}),
    ("refresh_new", "processor time a refresh that writes", {1: 10, 100: 10, 1000: 10}),
)
SAY = {"time": seconds, "cpu": seconds, "pss": megabytes, "rss": megabytes, "refresh_new": seconds,
       "refresh_same": seconds, "threads": count, "requests": count, "exit": seconds, "idle": percent}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--take", type=pathlib.Path, nargs="*", default=[], metavar="FILE")
    options = parser.parse_args()
    figures = Figures(JSON if JSON.exists() else options.take[0])
    for file in options.take:
        figures.take(file)
    if options.take:
        figures.write(JSON)
    wrong = 0
    for path, text in (
        ("docs/performance.svg", chart(figures)),
        ("docs/performance.md", between_marks("docs/performance.md", page(figures))),
        ("README.md", between_marks("README.md", readme(figures))),
    ):
        wrong += settle(ROOT / path, text, options.check)
    sys.exit(1 if wrong else 0)


def settle(file, text, check):
    """1 where it must not be written and is not what it should be."""
    found = file.read_text() if file.exists() else ""
    if found == text:
        return 0
    if not check:
        file.write_text(text)
        return 0
    pairs = zip(found.splitlines() + ["(end)"], text.splitlines() + ["(end)"])
    line, (old, new) = next((at, pair) for at, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    print(f"{file.relative_to(ROOT)}:{line}: not what docs/performance.json gives; `make performance` "
          f"writes it anew\n  found: {old}\n  wanted: {new}", file=sys.stderr)
    return 1


def between_marks(path, text):
    before, rest = (ROOT / path).read_text().split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def page(figures):
    parts = [
        provenance(figures),
        f"![{OURS} beside {AGENT}: the figures are in the tables below](performance.svg)",
        "### What is promised\n\nAt most so much of what `bao agent` needs, over TLS, files on disk, by medians:",
        promised(figures),
        bounds(figures),
        "### All sizes\n\nOver TLS, files on disk; n secrets, each with two files:",
        sizes(figures, ("time", "cpu", "requests", "pss", "rss", "threads", "idle", "exit",
                        "refresh_same", "refresh_new")),
        "### Elsewhere\n\nFiles on tmpfs, as under `/run`; and a server without TLS:",
        elsewhere(figures),
        "### From a write on the server to the files",
        delays(figures),
        "### After an outage",
        outages(figures),
        "### The floor",
        floor(figures),
        "### Where the rest goes",
        rest(figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def paragraph(text):
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def provenance(figures):
    head, versions = figures.head, figures.head["versions"]
    machine = head["machine"]
    return paragraph(
            f"Measured on {head['date']} on {machine['cores']} cores of {machine['processor']}, "
            f"{machine['memory_gib']} GiB, {machine['kernel']}, disk {head['settings']['disk']}; load "
            f"{machine['load_at_start']} before the start. {versions['secrets-sync']} of commit `{head['commit']}`, "
            f"{versions['bao'].split(' (')[0]}, the server as well as the agent. Up to "
            f"{head['settings']['rounds']} rounds of each figure, by turns; medians.")


def promised(figures):
    lines = ["| | n | secrets-sync | bao agent | ratio | at most |", "|---|--:|--:|--:|--:|--:|"]
    for figure, name, limits in PROMISED:
        for n, limit in limits.items():
            ours, theirs = figures.pair(figure, n)
            missed = "" if ours and theirs and theirs >= limit * ours else ", missed"
            lines.append(f"| {name} | {n:,} | {SAY[figure](ours)} | {SAY[figure](theirs)} "
                         f"| {ratio(ours, theirs)} | 1/{limit}{missed} |")
    return "\n".join(lines)


def bounds(figures):
    size, idle = figures.median("size", OURS), figures.median("idle", OURS, 100)
    ours, theirs = recovery(figures)
    return paragraph(
            f"The program has {count(size)} bytes (at most 5,000,000), `bao` {count(figures.median('size', AGENT))}. "
            f"Idle with 100 secrets it takes {percent(idle)} of a core (at most 0.05 %). After an outage all is "
            f"current again in {ratio(ours, theirs)} of the time (at most 1/4).")


def sizes(figures, names):
    titles = {
        "time": "start to all files", "cpu": "processor time to that point",
        "requests": "requests on the server to that point", "pss": "PSS at rest", "rss": "RSS at rest",
        "threads": "threads", "idle": "idle, of a core", "exit": "SIGTERM to the end",
        "refresh_same": "processor time a refresh, nothing new", "refresh_new": "processor time a refresh that writes",
    }
    lines = ["| | n | secrets-sync | bao agent | ratio |", "|---|--:|--:|--:|--:|"]
    for figure in names:
        for n in figures.sizes(figure):
            ours, theirs = figures.pair(figure, n)
            lines.append(f"| {titles[figure]} | {n:,} | {SAY[figure](ours)} | {SAY[figure](theirs)} "
                         f"| {ratio(ours, theirs)} |")
    return "\n".join(lines)


def elsewhere(figures):
    lines = ["| | n | secrets-sync | bao agent | ratio |", "|---|--:|--:|--:|--:|"]
    for name, where in (("tmpfs", {"target": "tmpfs"}), ("no TLS", {"transport": "plain"})):
        for figure, said in (("time", "start to all files"), ("cpu", "processor time to that point"),
                             ("refresh_same", "processor time a refresh, nothing new"),
                             ("refresh_new", "processor time a refresh that writes")):
            for n in figures.sizes(figure, **where):
                ours, theirs = figures.pair(figure, n, **where)
                lines.append(f"| {name}: {said} | {n:,} | {SAY[figure](ours)} | {SAY[figure](theirs)} "
                             f"| {ratio(ours, theirs)} |")
    return "\n".join(lines)


def delays(figures):
    samples = [figures.rounds("delay", program) for program in (OURS, AGENT)]
    if not all(samples):
        return "Not measured."
    lines = [paragraph(
                 f"{len(samples[0])} writes at random moments to secrets that are read each second. A write falls "
                 "anywhere between two reads, so the interval alone gives the last column; ours varies it by a tenth "
                 "downwards."),
             "", "| | secrets-sync | bao agent | the interval alone |", "|---|--:|--:|--:|"]
    mean = [seconds(statistics.mean(values)) for values in samples]
    lines.append(f"| mean | {mean[0]} | {mean[1]} | 500 ms |")
    for share in (50, 95, 99):
        said = [seconds(percentile(values, share)) for values in samples]
        lines.append(f"| {share} in 100 within | {said[0]} | {said[1]} | {10 * share} ms |")
    said = [seconds(max(values)) for values in samples]
    lines.append(f"| longest | {said[0]} | {said[1]} | 1 s |")
    return "\n".join(lines)


def recovery(figures):
    """Over outages of random length where they were measured, else over those of 30 s."""
    for figure in ("outages", "outage"):
        pair = figures.pair(figure, transport="plain")
        if all(pair):
            return pair
    return None, None


def outages(figures):
    lines = ["| 100 secrets, read each second | outages | secrets-sync | bao agent | ratio |", "|---|--:|--:|--:|--:|"]
    for figure, name in (("outage", "30 s without the server"), ("outages", "30 to 150 s, at random")):
        ours, theirs = figures.pair(figure, transport="plain")
        number = len(figures.rounds(figure, OURS))
        if number:
            lines.append(f"| {name} | {number} | {seconds(ours)} | {seconds(theirs)} | {ratio(ours, theirs)} |")
    return "From the moment the server serves again to the first read of the last secret:\n\n" + "\n".join(lines)


def floor(figures):
    rates = {n: figures.median("reads_per_second", "wrk", n) for n in figures.sizes("reads_per_second", "wrk")}
    if not rates:
        return "Not measured: `wrk` was missing."
    best = max(rates.values())
    said = ", ".join(f"{count(rate)} at {n}" for n, rate in rates.items())
    lines = [paragraph(
                 f"`wrk` reads one secret over kept TLS connections {said} connections, in times a second. The files "
                 "are written by one thread, one after another: create, write, fsync, rename. Beside their sum stands "
                 "`secrets-sync` with all it does: its start, the sandbox, the login, the reads, rendering, the files, "
                 "and an fsync of their directory."),
             "", "| secrets | reads at the best rate | files, one after another | sum | secrets-sync | of the sum |",
             "|--:|--:|--:|--:|--:|--:|"]
    for target in ("disk", "tmpfs"):
        for n in figures.sizes("files", "floor", target=target):
            reads, files = n / best, figures.median("files", "floor", n, target=target)
            ours = figures.median("time", OURS, n, target=target)
            if ours:
                lines.append(f"| {n:,}, {target} | {seconds(reads)} | {seconds(files)} | {seconds(reads + files)} "
                             f"| {seconds(ours)} | {ours / (reads + files):.1f} |")
    return "\n".join(lines)


def rest(figures, n=100):
    """What lies between the floor and our time, as far as differences between the figures show it."""
    first, ours = figures.median("time", OURS, 1, target="tmpfs"), figures.median("time", OURS, n)
    plain, memory = figures.median("time", OURS, n, transport="plain"), figures.median("time", OURS, n, target="tmpfs")
    cpu, files = figures.median("cpu", OURS, n, target="tmpfs"), figures.median("files", "floor", n)
    if not all((first, ours, plain, memory, cpu, files)):
        return "Not measured."
    parts = (
        f"{seconds(first)} is what one secret on tmpfs takes: the start of the process, the sandbox, the TLS "
        "handshake, the login, the look-up of the token, a read, two files.",
        f"{seconds(max(0, ours - plain))} is gone without TLS: handshakes of the other connections, and what every "
        "request and answer costs there.",
        f"{seconds(max(0, ours - memory))} is gone on tmpfs: what waits for the disk, of which the floor has "
        f"{seconds(files)}; the fsyncs of several secrets overlap.",
        f"The program itself takes {seconds(cpu)} of processor time on tmpfs, with a thread for each secret: requests, "
        "JSON, templates, the way to the target, creating, comparing and renaming files. The server computes on the "
        "same cores.",
    )
    items = [textwrap.indent(paragraph(part), "  ").replace("  ", "* ", 1) for part in parts]
    return "\n".join((f"Of the {seconds(ours)} for {n} secrets on disk:", "", *items))


def readme(figures):
    head = figures.head
    lines = [paragraph(
                 f"Measured by `make bench` beside `bao agent` ({head['versions']['bao'].split(' (')[0]}) against the "
                 f"same server over TLS, in one run on one machine ({head['machine']['cores']} cores, "
                 f"{head['machine']['processor']}, {head['machine']['kernel']}, files on disk; medians). Run it on "
                 "yours."),
             "", "| | secrets-sync | bao agent | |", "|---|--:|--:|--:|"]
    for figure, n, name in (
        ("time", 1, "1 secret, 2 files: start to the last file"),
        ("time", 100, "100 secrets, 200 files: start to the last file"),
        ("cpu", 100, "processor time to that point"),
        ("pss", 1, "memory at rest (PSS), 1 secret"),
        ("pss", 100, "memory at rest (PSS), 100 secrets"),
        ("refresh_same", 100, "processor time a refresh, nothing new"),
        ("refresh_new", 100, "processor time a refresh that writes two files"),
        ("idle", 100, "processor while idle, 100 secrets, of a core"),
    ):
        ours, theirs = figures.pair(figure, n)
        lines.append(f"| {name} | {SAY[figure](ours)} | {SAY[figure](theirs)} | {ratio(ours, theirs)} |")
    ours, theirs = recovery(figures)
    lines.append(f"| all current again after an outage | {seconds(ours)} | {seconds(theirs)} | {ratio(ours, theirs)} |")
    ours, theirs = figures.pair("size")
    lines.append(f"| size of the program | {megabytes(ours)}, static | {megabytes(theirs)} | {ratio(ours, theirs)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
