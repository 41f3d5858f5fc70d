"""``make soak``: prints a line for every reading; exits with 1 if something grew,
was lost, or hardly anything was tried."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.readings import Reading, growth
from tests.soak.workload import Soak

#: The part of all volumes that succeeds although faults strike; the others fail cleanly.
MADE = 0.9
HEAD = (
    "volumes", "seconds", "faults", "RSS MiB", "threads", "descriptors", "sockets", "sessions",
    "objects", "items",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--volumes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readings", type=int, default=20)
    asked = parser.parse_args()
    readings: list[Reading] = []
    with tempfile.TemporaryDirectory(prefix="vmdk-cache-soak-") as directory:
        soak = Soak(asked.seed, asked.volumes, asked.readings, Path(directory))
        began = time.monotonic()
        print(" ".join(f"{word:>11}" for word in HEAD))
        for reading in soak.run():
            readings.append(reading)
            print(line(reading, time.monotonic() - began, soak.faults), flush=True)
    print("volumes:", ", ".join(f"{count} {what}" for what, count in soak.outcomes.most_common()))
    complaints = [*growth(readings), *soak.lost]
    if not soak.faults:
        complaints.append("no fault struck")
    if soak.outcomes["made"] < MADE * asked.volumes:
        complaints.append(f"only {soak.outcomes['made']} of {asked.volumes} volumes were made")
    for complaint in complaints[:40]:
        print("COMPLAINT:", complaint)
    print("all flat" if not complaints else f"{len(complaints)} complaints")
    return 1 if complaints else 0


def line(reading: Reading, seconds: float, faults: int) -> str:
    columns = (
        reading.volumes, f"{seconds:.0f}", faults, f"{reading.rss_mib:.1f}", reading.threads,
        reading.descriptors, reading.sockets, reading.sessions, reading.objects,
        sum(reading.sizes.values()),
    )  # fmt: skip
    return " ".join(f"{column:>11}" for column in columns)


if __name__ == "__main__":
    sys.exit(main())
