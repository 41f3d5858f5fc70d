"""Run the fake vCenter by hand: ``python -m tests.fakes.vcenter --help``."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from pathlib import Path

from tests.fakes.vcenter import DEFAULT_PASSWORD, DEFAULT_USER, Clock, CostModel, Model, VCenter
from tests.fakes.vcenter.model import Profile

PASSWORD_VARIABLE = "FAKE_VCENTER_PASSWORD"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_bytes(text: str) -> int:
    """Bytes of "500G", "1T", "1TiB" or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a size: {text!r} (write 500G, 1T or bytes)")
    return int(match.group(1)) * _UNITS[match.group(2).upper()]


def sizes(text: str) -> tuple[int, ...]:
    """One size for all datastores, or one each, separated by commas."""
    return tuple(size_bytes(part) for part in text.split(","))


def profile(text: str) -> Profile:
    """A storage policy from "name=datastore,datastore"."""
    name, equals, datastores = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"not NAME=DATASTORE,...: {text!r}")
    return Profile(name, tuple(filter(None, datastores.split(","))))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.fakes.vcenter",
        description="A fake vCenter on loopback, for trying things out. It listens until Ctrl-C.",
        epilog=f"The password is read from --password-file, else from the environment variable "
        f"{PASSWORD_VARIABLE}, else it is '{DEFAULT_PASSWORD}'.",
    )
    made.add_argument("--port", type=int, default=8989, help="TCP port, 0 for any (%(default)s)")
    made.add_argument("--datacenters", type=int, default=1, help="how many (%(default)s)")
    made.add_argument("--clusters", type=int, default=1, help="per datacenter (%(default)s)")
    made.add_argument("--hosts", type=int, default=2, help="per cluster (%(default)s)")
    made.add_argument("--datastores", type=int, default=2, help="per datacenter (%(default)s)")
    made.add_argument(
        "--datastore-size",
        type=sizes,
        default=(1 << 40,),
        metavar="SIZE[,SIZE...]",
        help="capacity of all datastores, or of each, such as 500G,1T (1T)",
    )
    made.add_argument(
        "--datastore-type",
        default="NFS",
        choices=["NFS", "NFS41", "VMFS", "vsan", "VVOL"],
        help="(%(default)s)",
    )
    made.add_argument("--pods", type=int, default=0, help="datastore clusters (%(default)s)")
    made.add_argument(
        "--profile",
        type=profile,
        action="append",
        default=[],
        metavar="NAME=DATASTORE,...",
        help="a storage policy and the datastores that satisfy it; may be repeated",
    )
    made.add_argument("--user", default=DEFAULT_USER, help="(%(default)s)")
    made.add_argument("--password-file", type=Path, help="file whose first line is the password")
    made.add_argument(
        "--session-timeout", type=float, default=1800, metavar="SECONDS", help="(%(default)s)"
    )
    made.add_argument(
        "--costs",
        action="store_true",
        help="let clones take time by bytes and bandwidth, and queue as in vCenter (off)",
    )
    made.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="how much faster than real time the fake's clock runs (%(default)s)",
    )
    return made


def password_of(options: argparse.Namespace) -> str:
    """The password by file, environment or default; exits with a message when there is none."""
    if options.password_file is not None:
        try:
            lines = options.password_file.read_text().splitlines()
        except OSError as error:
            sys.exit(f"cannot read the password file: {error}")
        if not lines or not lines[0]:
            sys.exit(f"the password file {options.password_file} is empty")
        return str(lines[0])
    return os.environ.get(PASSWORD_VARIABLE) or DEFAULT_PASSWORD


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; exit code 0 then, 2 for a bad command line, 1 when the
    port is taken.
    """
    made = parser()
    options = made.parse_args(arguments)
    try:
        model = Model(
            datacenters=options.datacenters,
            clusters=options.clusters,
            hosts_per_cluster=options.hosts,
            datastores=options.datastores,
            datastore_bytes=options.datastore_size,
            datastore_type=options.datastore_type,
            pods=options.pods,
            profiles=tuple(options.profile),
        )
        clock = Clock(options.time_scale)
    except ValueError as error:
        made.error(str(error))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        vcenter = VCenter(
            model,
            user=options.user,
            password=password_of(options),
            port=options.port,
            clock=clock,
            cost_model=CostModel(enabled=options.costs),
        )
    except (OSError, OverflowError) as error:
        print(f"cannot listen on port {options.port}: {error}", file=sys.stderr)
        return 1
    vcenter.sessions.idle_timeout_s = options.session_timeout
    with vcenter:
        print(f"URL      {vcenter.url}")
        print(f"CA file  {vcenter.ca_file}")
        print(f"user     {vcenter.user}")
        print("Ctrl-C stops it.", flush=True)
        stopped.wait()
    print(f"served {vcenter.request_log.total()} requests")
    for each in vcenter.errors:
        print(each, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
