#!/usr/bin/env python3
"""How long after an outage of the server all secrets are current again, beside `bao agent`.

    python3 tests/bench/outages.py --binary target/static/secrets-sync --json docs/performance-outages.json

Servers on raft are killed for a random time, started and unsealed; each has a daemon and an agent with
100 secrets that are read each second. A secret is current with its first successful read after the server
is back, as the server's own audit file tells. Prints the wait from the moment the server serves to the
last secret, and for the daemon from the probe that found the server. Several servers run beside each
other. Ends with 1 where the median wait is 3 s or more, or a wait after the probe is over 2 s.
Standard library only.
"""

import argparse
import dataclasses
import json
import pathlib
import random
import statistics
import sys
import tempfile
import threading
import time

from book import Book
from contenders import AGENT, OURS, Agent, Ours, Work
from host import ROOT, end_with_the_script, find_bao, find_binary, machine, say
from raft import Raft, moment

MEDIAN, AFTER_PROBE = 3.0, 2.0
PATIENCE = {OURS: 60.0, AGENT: 240.0}
ROLES = {OURS: "daemon", AGENT: "agent"}


@dataclasses.dataclass
class Plan:
    programs: dict
    directory: pathlib.Path
    shortest: float = 30.0
    longest: float = 150.0
    secrets: int = 100
    servers: int = 3
    outages: int = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/static/secrets-sync")
    parser.add_argument("--bao", help="default: BAO_BIN, .tools, PATH")
    parser.add_argument("--secrets", type=int, default=Plan.secrets)
    parser.add_argument("--outages", type=int, default=Plan.outages, help="of each server")
    parser.add_argument("--servers", type=int, default=Plan.servers)
    parser.add_argument("--shortest", type=float, default=Plan.shortest, help="seconds")
    parser.add_argument("--longest", type=float, default=Plan.longest, help="seconds")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    options = parser.parse_args()
    end_with_the_script()
    plan = Plan({OURS: find_binary(options.binary), AGENT: pathlib.Path(options.bao or find_bao())},
                pathlib.Path("/var/tmp"), options.shortest, options.longest, options.secrets,
                options.servers, options.outages)
    say(machine())
    book = Book()
    book.describe(plan.programs[OURS], plan.programs[AGENT], secrets=plan.secrets,
                  outages=f"{plan.shortest:g} to {plan.longest:g} s")
    rows = measure_into(book, "outages", plan)
    if options.json:
        book.write(options.json)
    sys.exit(0 if judge(rows) else 1)


def measure_into(book, figure, plan):
    """Takes the figures of all outages into the book; the rows are returned as well."""
    rows = measure(plan)
    for row in rows:
        for program in (OURS, AGENT):
            book.add(figure, program, plan.secrets, row[program], transport="plain")
        book.add(f"{figure}_length", "server", plan.secrets, row["outage"], transport="plain")
    ours, theirs = (statistics.median(row[program] for row in rows) for program in (OURS, AGENT))
    say(f"  current again, from the server's return: {OURS} {ours:.2f} s, {AGENT} {theirs:.2f} s"
        f"  1/{theirs / ours:.1f} (medians of {len(rows)})")
    return rows


def measure(plan):
    rows, errors = [], []
    plan.directory.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="secrets-sync-outages-", dir=plan.directory) as work:
        threads = [threading.Thread(target=guarded, daemon=True,
                                    args=(plan, pathlib.Path(work) / str(number), rows, errors))
                   for number in range(plan.servers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors or not rows:
        sys.exit(f"outages: {errors}")
    return rows


def guarded(plan, home, rows, errors):
    try:
        with Raft(plan.programs[AGENT], home / "server", ROLES.values()) as server:
            run(plan, server, home, rows)
    except SystemExit as error:
        errors.append(str(error))
    except Exception as error:  # whatever it is, the run has failed
        errors.append(repr(error))


def run(plan, server, home, rows):
    """A server, the daemon and the agent."""
    for number in range(plan.secrets):
        server.put(number, 0)
    works = {program: Work(server, home, plan.secrets, "plain", "1s", server.credentials(role))
             for program, role in ROLES.items()}
    with Ours(plan.programs[OURS], works[OURS], "daemon") as ours, \
            Agent(plan.programs[AGENT], works[AGENT], "agent") as agent:
        for contender in (ours, agent):
            if contender.all_files(120.0) is None:
                sys.exit(f"no files of {contender.name}:\n{contender.tell()}")
        for _ in range(plan.outages):
            time.sleep(5)
            length = random.uniform(plan.shortest, plan.longest)
            rows.append(outage(plan, server, ours, length))


def outage(plan, server, ours, length):
    server.kill()
    time.sleep(length)
    server.start()
    server.unseal()
    back = time.time()
    row = {"outage": length}
    for program, role in ROLES.items():
        row[program] = wait_current(plan, server, role, back, PATIENCE[program]) - back
    probe = found_by_probe(ours, back)
    row["after_probe"] = row[OURS] - (probe - back) if probe else None
    say("  " + ", ".join(f"{name} {value:.2f} s" for name, value in row.items() if value is not None))
    return row


def wait_current(plan, server, role, back, patience):
    """When the last of the secrets was read again; the end of patience where one was not."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        firsts = server.first_reads(back, role)
        if len(firsts) == plan.secrets:
            return max(firsts.values())
        time.sleep(0.25)
    return back + patience


def found_by_probe(ours, back):
    """When the daemon's probe found the server, by its log; that probe began a moment earlier."""
    for line in ours.log_path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["msg"].startswith("the store is being tried") and moment(entry["ts"]) >= back - 1:
            return moment(entry["ts"])
    return None


def judge(rows):
    ours = [row[OURS] for row in rows]
    probes = [row["after_probe"] for row in rows if row["after_probe"] is not None]
    if probes:
        say(f"  {OURS}, from the probe that found the server: {statistics.median(probes):.2f} s (median; "
            f"{max(probes):.2f} at most)")
    return statistics.median(ours) < MEDIAN and all(probe <= AFTER_PROBE for probe in probes)


if __name__ == "__main__":
    main()
