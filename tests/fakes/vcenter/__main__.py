"""Run the fake vCenter by hand: ``python -m tests.fakes.vcenter --help``."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.fakes.vcenter import DEFAULT_PASSWORD, DEFAULT_USER, Clock, CostModel, Model, VCenter
from tests.fakes.vcenter.model import Profile

PASSWORD_VARIABLE = "FAKE_VCENTER_PASSWORD"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LARGEST_BYTES = (1 << 63) - 1  # the largest xsd:long
# Even after a year of real time, the date still fits into a datetime.
_LARGEST_TIME_SCALE = 5000


def size_bytes(text: str) -> int:
    """Bytes of "500G", "1T", "1TiB" or a plain number."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a size: {text!r} (write 500G, 1T or bytes)")
    size = int(match.group(1)) * _UNITS[match.group(2).upper()]
    if not 0 < size <= _LARGEST_BYTES:
        raise argparse.ArgumentTypeError(f"no datastore has this size: {text!r} (write 500G)")
    return size


def sizes(text: str) -> tuple[int, ...]:
    """Sizes by position, separated by commas; the last one repeats."""
    return tuple(size_bytes(part) for part in text.split(","))


def profile(text: str) -> Profile:
    """A storage policy from "name=datastore,datastore"."""
    name, equals, datastores = text.partition("=")
    if not name.strip() or not equals:
        raise argparse.ArgumentTypeError(f"not NAME=DATASTORE,...: {text!r}")
    return Profile(name, tuple(filter(None, datastores.split(","))))


def whole_number(at_least: int, at_most: float = math.inf) -> Callable[[str], int]:
    """A parser of integers within bounds."""

    def read(text: str) -> int:
        number = int(text)
        if number < at_least:
            raise argparse.ArgumentTypeError(f"must be at least {at_least}, not {number}")
        if number > at_most:
            raise argparse.ArgumentTypeError(f"must be at most {at_most}, not {number}")
        return number

    read.__name__ = "whole number"  # argparse says "invalid whole number value"
    return read


def timeout_s(text: str) -> float:
    """A positive number of seconds."""
    seconds = _number(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {text!r}")
    return seconds


def time_scale(text: str) -> float:
    """Seconds of the fake's time per real second."""
    scale = _number(text)
    if not 0 <= scale <= _LARGEST_TIME_SCALE:  # also refuses nan
        raise argparse.ArgumentTypeError(
            f"not a factor from 0 (time stands still) to {_LARGEST_TIME_SCALE}: {text!r}"
        )
    return scale


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None


def user_name(text: str) -> str:
    """Any text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a log-in needs a name")
    return text


def parser() -> argparse.ArgumentParser:
    """The command-line parser."""
    made = argparse.ArgumentParser(
        prog="python -m tests.fakes.vcenter",
        description="A fake vCenter on loopback, for trying things out. It listens until Ctrl-C.",
        epilog=f"The password is read from --password-file, else from the environment variable "
        f"{PASSWORD_VARIABLE}, else it is '{DEFAULT_PASSWORD}'.",
    )
    made.add_argument(
        "--port",
        type=whole_number(0, 65535),
        default=8989,
        help="TCP port, 0 for any (%(default)s)",
    )
    made.add_argument(
        "--datacenters", type=whole_number(1), default=1, help="how many (%(default)s)"
    )
    made.add_argument(
        "--clusters", type=whole_number(1), default=1, help="per datacenter (%(default)s)"
    )
    made.add_argument("--hosts", type=whole_number(1), default=2, help="per cluster (%(default)s)")
    made.add_argument(
        "--datastores", type=whole_number(1), default=2, help="per datacenter (%(default)s)"
    )
    made.add_argument(
        "--datastore-size",
        type=sizes,
        default=(1 << 40,),
        metavar="SIZE[,SIZE...]",
        help="capacity of each datastore of a datacenter, as in 500G,1T; the last one repeats (1T)",
    )
    made.add_argument(
        "--datastore-type",
        default="NFS",
        choices=["NFS", "NFS41", "VMFS", "vsan", "VVOL"],
        help="(%(default)s)",
    )
    made.add_argument(
        "--pods", type=whole_number(0), default=0, help="datastore clusters (%(default)s)"
    )
    made.add_argument(
        "--profile",
        type=profile,
        action="append",
        default=[],
        metavar="NAME=DATASTORE,...",
        help="a storage policy and the datastores that satisfy it; may be repeated",
    )
    made.add_argument("--user", type=user_name, default=DEFAULT_USER, help="(%(default)s)")
    made.add_argument("--password-file", type=Path, help="file whose first line is the password")
    made.add_argument(
        "--account",
        type=user_name,
        metavar="USER",
        help="another account with the same password; its privileges are those of "
        "docs/security.rst, on DC0",
    )
    made.add_argument(
        "--besides",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="PRIVILEGE[,PRIVILEGE...]",
        help="additional privileges of this account on DC0",
    )
    made.add_argument(
        "--session-timeout",
        type=timeout_s,
        default=1800,
        metavar="SECONDS",
        help="when an idle session ends (%(default)s)",
    )
    made.add_argument(
        "--costs",
        action="store_true",
        help="let clones, uploads and downloads take time by bytes and bandwidth, and operations "
        "queue as in vCenter (off)",
    )
    made.add_argument(
        "--time-scale",
        type=time_scale,
        default=1.0,
        metavar="FACTOR",
        help="speed of the fake's clock relative to real time, 0: it stands still (%(default)s)",
    )
    return made


def model_of(options: argparse.Namespace) -> Model:
    """The inventory that the options describe; ValueError if options contradict each other."""
    if len(options.datastore_size) > options.datastores:
        raise ValueError(
            f"argument --datastore-size: {len(options.datastore_size)} sizes for "
            f"{options.datastores} datastores (see --datastores)"
        )
    names = [
        f"DC{dc}_DS{n}" for dc in range(options.datacenters) for n in range(options.datastores)
    ]
    for each in options.profile:
        unknown = [name for name in each.datastores if name not in names]
        if unknown:
            raise ValueError(
                f"argument --profile: {each.name} names {', '.join(unknown)}; the datastores are "
                f"{', '.join(names)}"
            )
    return Model(
        datacenters=options.datacenters,
        clusters=options.clusters,
        hosts_per_cluster=options.hosts,
        datastores=options.datastores,
        datastore_bytes=options.datastore_size,
        datastore_type=options.datastore_type,
        pods=options.pods,
        profiles=tuple(options.profile),
    )


def password_of(options: argparse.Namespace) -> str:
    """The password from the file, the environment or the default; exits with a message if there is
    none.
    """
    if options.password_file is not None:
        try:
            lines = options.password_file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            sys.exit(f"cannot read the password file {options.password_file}: {error}")
        if not lines or not lines[0]:
            sys.exit(f"the password file {options.password_file} is empty")
        return str(lines[0])
    return os.environ.get(PASSWORD_VARIABLE) or DEFAULT_PASSWORD


def _add_account(vcenter: VCenter, user: str, besides: tuple[str, ...]) -> None:
    from tests.fakes.account import add_documented_account

    add_documented_account(vcenter, user=user, password=vcenter.password, besides=besides)


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted. Exit codes: 0 when interrupted, 2 for a bad command line, 1 if the
    port is taken.
    """
    made = parser()
    options = made.parse_args(arguments)
    try:
        model = model_of(options)
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
            clock=Clock(options.time_scale),
            cost_model=CostModel(enabled=options.costs),
        )
    except OSError as error:
        print(f"cannot listen on port {options.port}: {error}", file=sys.stderr)
        return 1
    vcenter.sessions.idle_timeout_s = options.session_timeout
    if options.account is not None:
        _add_account(vcenter, options.account, options.besides)
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
