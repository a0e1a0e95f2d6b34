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

from chart import chart
from contenders import AGENT, OURS
from figures import PLACED, PLACES, SAY, Figures, count, item, megabytes, paragraph, percentile, ratio, seconds
from floor import is_shaken
from host import ROOT
from promises import bounds, missed_and_why, promised, recovery

JSON = ROOT / "docs/performance.json"
BEGIN, END = "<!-- made by `make performance` from here -->\n", "<!-- to here -->\n"

HEAD = "| | n | secrets-sync | bao agent | ratio |\n|---|--:|--:|--:|--:|"


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
    place, *others = figures.places()
    parts = [
        provenance(figures),
        f"![{OURS} beside {AGENT}: the figures are in the tables below](performance.svg)",
        "### What is promised\n\nAt most so much of what `bao agent` needs, over TLS, by medians. Where the files lie "
        "is all that differs\nfrom the first table to the second.",
        *promised(figures, place),
        bounds(figures),
        "### What is missed, and why",
        missed_and_why(figures),
        f"### All sizes\n\nOver TLS, files on {place}; n secrets, each with two files:",
        sizes(figures, place, ("time", "cpu", "requests", "pss", "rss", "threads", "idle", "exit",
                               "refresh_same", "refresh_new")),
        "### Elsewhere\n\nFiles on disk; and a server without TLS:",
        elsewhere(figures, others),
        "### From a write on the server to the files",
        delays(figures),
        "### After an outage",
        outages(figures),
        "### The floor",
        floor(figures),
        floor_cpu(figures),
        floor_wakes(figures),
        "### Where the rest goes",
        rest(figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def provenance(figures):
    head, versions = figures.head, figures.head["versions"]
    machine = head["machine"]
    return paragraph(
            f"Measured on {head['date']} on {machine['cores']} cores of {machine['processor']}, "
            f"{machine['memory_gib']} GiB, {machine['kernel']}, disk {head['settings']['disk']}; load "
            f"{machine['load_at_start']} before the start. {versions['secrets-sync']} of commit `{head['commit']}`, "
            f"{versions['bao'].split(' (')[0]}, the server as well as the agent. Up to "
            f"{head['settings']['rounds']} rounds of each figure, by turns; medians.{shaken(figures)}")


def shaken(figures):
    checks = figures.head.get("disk_checks", [])
    if not is_shaken(checks):
        return ""
    said = [f"{seconds(check['new_file'])} and {seconds(check['secret'])}" for check in checks]
    return (" The disk was slowed by what had been deleted there, or by others: a new file and the files of a secret "
            f"took {', then '.join(said)} of processor time. Figures on disk do not hold.")


def sizes(figures, place, names):
    titles = {
        "time": "start to all files", "cpu": "processor time to that point",
        "requests": "requests on the server to that point", "pss": "PSS at rest", "rss": "RSS at rest",
        "threads": "threads", "idle": "idle, of a core", "exit": "SIGTERM to the end",
        "refresh_same": "processor time a refresh, nothing new", "refresh_new": "processor time a refresh that writes",
    }
    lines = [HEAD]
    for figure in names:
        for n in figures.sizes(figure, target=place):
            ours, theirs = figures.pair(figure, n, target=place)
            lines.append(f"| {titles[figure]} | {n:,} | {SAY[figure](ours)} | {SAY[figure](theirs)} "
                         f"| {ratio(ours, theirs)} |")
    return "\n".join(lines)


def elsewhere(figures, others):
    lines = [HEAD]
    plain = where_plain(figures)
    for name, where in (*((place, {"target": place}) for place in others),
                        (f"no TLS, {plain}", {"transport": "plain", "target": plain})):
        for figure, said in (("time", "start to all files"), ("cpu", "processor time to that point"),
                             ("refresh_same", "processor time a refresh, nothing new"),
                             ("refresh_new", "processor time a refresh that writes")):
            for n in figures.sizes(figure, **where):
                ours, theirs = figures.pair(figure, n, **where)
                lines.append(f"| {name}: {said} | {n:,} | {SAY[figure](ours)} | {SAY[figure](theirs)} "
                             f"| {ratio(ours, theirs)} |")
    return "\n".join(lines)


def where_plain(figures):
    """Where the start without TLS was measured: in one place."""
    return next((place for place in PLACES if figures.sizes("time", transport="plain", target=place)), None)


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
                 "are written by one thread, the two of one secret after those of another: create, write, fsync, "
                 "rename. Beside their sum stands `secrets-sync` with all it does: its start, the sandbox, the login, "
                 "the reads, rendering, and the files."),
             "", "| secrets | reads at the best rate | files, one after another | sum | secrets-sync | of the sum |",
             "|--:|--:|--:|--:|--:|--:|"]
    for place in figures.places():
        for n in figures.sizes("files", "floor", target=place):
            reads, files = n / best, figures.median("files", "floor", n, target=place)
            if ours := figures.median("time", OURS, n, target=place):
                lines.append(f"| {n:,}, {place} | {seconds(reads)} | {seconds(files)} | {seconds(reads + files)} "
                             f"| {seconds(ours)} | {ours / (reads + files):.1f} |")
    return "\n".join(lines)


def floor_cpu(figures):
    """The processor time of a start beside that of its files and its reads alone."""
    lines = [paragraph(
                 "The same in processor time: a program that only writes these files, and one that only reads these "
                 "secrets, one after another over one TLS connection, its handshake aside (`make floor`):"),
             "", "| secrets | files alone | reads alone | sum | secrets-sync | bao agent | 1/8 of it |",
             "|--:|--:|--:|--:|--:|--:|--:|"]
    for place in figures.places():
        for n in figures.sizes("files_cpu", "floor", target=place):
            files, reads = (figures.median(name, "floor", n, target=place) for name in ("files_cpu", "reads_cpu"))
            ours, theirs = figures.pair("cpu", n, target=place)
            if all((files, reads, ours, theirs)):
                lines.append(f"| {n:,}, {place} | {seconds(files)} | {seconds(reads)} | {seconds(files + reads)} "
                             f"| {seconds(ours)} | {seconds(theirs)} | {seconds(theirs / 8)} |")
    return "\n".join(lines) if len(lines) > 4 else "In processor time: not measured (`make floor`)."


def floor_wakes(figures):
    """One read a second: what anyone pays who wakes so often."""
    waking, plain, tls = (figures.median(f"wake_{name}", "floor", 1) for name in ("waking", "plain", "tls"))
    if not tls:
        return "One read a second: not measured (`make floor`)."
    place = figures.places()[0]
    same, new, written = figures.pair("refresh_same", 1, target=place), {}, {}
    for at in figures.places():
        new[at] = figures.pair("refresh_new", 1, target=at)
        written[at] = figures.median("wake_write", "floor", 1, target=at)
    lines = [paragraph(
                 "One read a second, in processor time, caches cold. The floor is a program that wakes once a second; "
                 "that then sends a request on a kept connection, reads the answer to its end, and opens and reads two "
                 "files; or writes them anew:"),
             "", "| once a second | the floor | secrets-sync | bao agent | 1/10 of bao agent |",
             "|---|--:|--:|--:|--:|",
             f"| only waking | {seconds(waking)} | | | |",
             f"| a read without TLS, a look at two files | {seconds(plain)} | | | |"]
    shares = []
    for name, least, (ours, theirs) in (
        ("a read, a look at two files", tls, same),
        *((f"a read, two new files on {at}", written[at], new[at]) for at in figures.places()),
    ):
        if least and ours and theirs:
            shares.append(f"{theirs / 10 / least:.2f}")
            said = " | ".join(map(seconds, (least, ours, theirs, theirs / 10)))
            lines.append(f"| {name} | {said} |")
    if shares:
        lines += ["", paragraph(f"So 1/10 of the agent's is, row by row, {', '.join(shares)} times the floor. What is "
                                "below 1, no program reaches that does as much.")]
    return "\n".join(lines)


def rest(figures, n=100):
    """What lies between the floor and our time, as far as differences between the figures show it."""
    place, *others = figures.places()
    first, ours = (figures.median("time", OURS, size, target=place) for size in (1, n))
    cpu, at = figures.median("cpu", OURS, n, target=place), where_plain(figures)
    tls, plain = (figures.median("time", OURS, n, transport, at) for transport in ("tls", "plain"))
    if not all((first, ours, cpu, tls, plain)):
        return "Not measured."
    parts = [
        f"{seconds(first)} is what one secret takes: the start of the process, the sandbox, the TLS "
        "handshake, the login, the look-up of the token, a read, two files.",
        *([f"{seconds(tls - plain)} is gone without TLS: handshakes of the other connections, and what every request "
           "and answer costs there."] if tls > plain else []),
        f"The program itself takes {seconds(cpu)} of processor time, with a thread for each secret: requests, "
        "JSON, templates, the way to the target, creating, comparing and renaming files. The server computes on the "
        "same cores.",
    ]
    for other in others:
        more, files = figures.median("time", OURS, n, target=other), figures.median("files", "floor", n, target=other)
        if more and files:
            parts.append(f"On {other} it takes {seconds(max(0, more - ours))} more: what waits for it, of which the "
                         f"floor has {seconds(files)}; the fsyncs of several secrets overlap.")
    return "\n".join((f"Of the {seconds(ours)} for {n} secrets on {place}:", "", *map(item, parts)))


def readme(figures):
    head, (place, *others) = figures.head, figures.places()
    beside = f"; the last column on {others[0]}" if others else ""
    lines = [paragraph(
                 f"Measured by `make bench` beside `bao agent` ({head['versions']['bao'].split(' (')[0]}) against the "
                 f"same server over TLS, in one run on one machine ({head['machine']['cores']} cores, "
                 f"{head['machine']['processor']}, {head['machine']['kernel']}; medians), files on {place}{beside}. "
                 "Run it on yours."),
             "", f"| | secrets-sync | bao agent | |{' on ' + others[0] + ' |' if others else ''}",
             "|---|--:|--:|--:|" + "--:|" * bool(others)]

    def add(name, said, pair, other=None):
        last = f" {ratio(*other)} |" if other else " |" if others else ""
        lines.append(f"| {name} | {said[0]} | {said[1]} | {ratio(*pair)} |{last}")

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
        pair = figures.pair(figure, n, target=place)
        other = figures.pair(figure, n, target=others[0]) if others and figure in PLACED else None
        add(name, list(map(SAY[figure], pair)), pair, other)
    pair = recovery(figures)
    add("all current again after an outage", list(map(seconds, pair)), pair)
    pair = figures.pair("size")
    add("size of the program", (f"{megabytes(pair[0])}, static", megabytes(pair[1])), pair)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
