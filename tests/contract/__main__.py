"""``make contract``: the contract suite, on our own vCenters or on the one in ``VCENTER``.

For a given vCenter, another process runs the tests. This process logs in first, removes what an
earlier run of this checkout has left, and at the end, whatever happens, removes what the run has
created.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from tests.contract.given import PLAN, Given, Plan, Problem, in_variables, read
from tests.contract.ground import Choice, Ground, ground
from tests.contract.journal import Journal
from tests.contract.run import Run
from tests.contract.sweep import Sweep, will_define_the_caches_attributes
from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import authorization, inventory, properties
from vmdk_cache.vim.reference import unescape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.simulator import is_simulator

ROOT = Path(__file__).parents[2]
_STATE = ROOT / ".tools" / "contract"
_PATIENCE_S = 2.0
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 30.0
#: Interrupted tests still end their threads and log out.
_INTERRUPTED_WITHIN_S = 90.0
_PYTEST = [sys.executable, "-m", "pytest"]
_USAGE = 2
_INTERRUPTED = 130
#: Without these, nothing could be removed; any other missing privilege makes a test fail.
_ON_FOLDER = (
    "Folder.Create", "Folder.Delete", "Folder.Rename", "VirtualMachine.Inventory.Delete",
)  # fmt: skip
_ON_DATASTORE = ("Datastore.Browse", "Datastore.FileManagement")


def main(arguments: Sequence[str] | None = None) -> int:
    """pytest's exit code; 2 if the suite cannot run, 1 if something is left, 130 for Ctrl-C."""
    options, rest = _parser().parse_known_args(arguments)
    try:
        given = read(os.environ)
        if given is not None:
            return _on(given, rest, clean=options.clean)
        if options.clean:
            raise Problem("--clean needs VCENTER")
        return _on_ours(rest, options.jobs)
    except Problem as problem:
        print(f"make contract: {problem}", file=sys.stderr)
        return _USAGE
    except KeyboardInterrupt:
        _say("interrupted; what is left is removed by the next run, or by ARGS=--clean")
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="make contract", add_help=False, allow_abbrev=False)
    made.add_argument("--jobs", default="0")
    made.add_argument("--clean", action="store_true")
    return made


def _on_ours(rest: Sequence[str], jobs: str) -> int:
    options = ["-n", jobs, "--dist", "loadfile", "-m", "not vcsim_inventories"]
    return subprocess.call([*_PYTEST, *_where(rest), *options, *rest], cwd=ROOT)


def _where(rest: Sequence[str]) -> list[str]:
    """The whole suite, unless the arguments name a part of it."""
    named = any((ROOT / each.partition("::")[0]).exists() for each in rest if each[:1] != "-")
    return [] if named else ["tests/contract"]


def _on(given: Given, rest: Sequence[str], *, clean: bool) -> int:
    state = _STATE / re.sub(r"[^A-Za-z0-9.]", "_", given.server)
    state.mkdir(parents=True, exist_ok=True)
    run = Run.new()
    # A shell starts background jobs with interrupts ignored, and the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _alone(state, given) as lock, _logged_in(given, state, run) as session:
        if clean:
            return _swept(session, state, lambda _: True)
        plan = _prepared(given, session, state, run)
        try:
            code = _tested(given, plan, rest, lock)
        finally:
            left = _swept(session, state, lambda each: each == run)
    return code or left


@contextlib.contextmanager
def _alone(state: Path, given: Given) -> Iterator[int]:
    """Yields a lock file that this process and the tests keep open as long as they run."""
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise Problem(
            f"a run on {given.server} from this checkout is in progress: let it end"
        ) from None
    finally:
        os.close(lock)


@contextlib.contextmanager
def _logged_in(given: Given, state: Path, run: Run) -> Iterator[Session]:
    """Try an unreachable vCenter only once: a wrong address is likelier than an outage."""
    limit_s = _CONNECT_TIMEOUT_S + 2 * _READ_TIMEOUT_S
    timeouts = {"connect_timeout_s": _CONNECT_TIMEOUT_S, "read_timeout_s": _READ_TIMEOUT_S}
    with _word(f"waits for an answer of {given.server}, for {limit_s:.0f} s at most"):
        try:
            with Session(given.endpoint(**timeouts, api_retry_count=1)):
                pass
        except errors.VCenterError as failure:
            raise Problem(f"VCENTER: {in_variables(failure)}") from failure
    journal = Journal(state / f"{run.id}.sessions")
    with Session(given.endpoint(**timeouts, api_retry_count=5, listener=journal)) as session:
        yield session


def _prepared(given: Given, session: Session, state: Path, run: Run) -> Plan:
    with _word(f"looks at the inventory of {given.server}, and for what earlier runs have left"):
        try:
            where, choice = _ground(given, session)
            _check_privileges(session, where)
        except errors.VmdkCacheError as failure:
            raise Problem(f"VCENTER: {in_variables(failure)}") from failure
    _swept(session, state, lambda each: each.machine == run.machine and each != run, before=True)
    will_define_the_caches_attributes(session, run)
    about = session.content.about
    _say(
        f"{about.fullName} at {given.server}, as {given.user}: datacenter "
        f"{quoted(where.datacenter.name)}, cluster {quoted(choice.cluster)}, datastores "
        f"{', '.join(quoted(name) for name in choice.datastores)}, folder {quoted(run.folder)}"
    )
    return Plan(run, is_simulator(session), choice, str(state / f"{run.id}.sessions"))


def _ground(given: Given, session: Session) -> tuple[Ground, Choice]:
    """Where the tests put things, also as names.

    :raises Problem: there is no such place
    """
    try:
        found = inventory.snapshot(session, given.choice.clusters)
    except errors.ConfigError as unknown:
        text = str(unknown).replace("vmware_cluster_name", "CLUSTER")
        raise Problem(text) from unknown
    where = ground(found, given.choice)
    if where is None:
        raise Problem(
            "no host of VCENTER is connected and has a datastore that it can write to, among those "
            "of DATACENTER, CLUSTER and DATASTORES as they are set"
        )
    cluster = where.hosts[0].cluster
    values = properties.read(session, "ClusterComputeResource", [cluster], ["name"])
    # A standalone host is in no cluster; then the tests use all hosts.
    name = unescape_name(values.get(cluster, {}).get("name", ""))
    datastores = tuple(datastore.name for datastore in where.datastores)
    return where, Choice(where.datacenter.name, name, datastores)


def _check_privileges(session: Session, where: Ground) -> None:
    """:raises Problem: the account could not remove what the run creates"""
    vm_folder = ("Folder", where.datacenter.vm_folder)
    wanted = {vm_folder: (_ON_FOLDER, f"the VM folder of {quoted(where.datacenter.name)}")}
    for each in where.datastores:
        wanted["Datastore", each.moref] = (_ON_DATASTORE, quoted(each.name))
    every = sorted({*_ON_FOLDER, *_ON_DATASTORE})
    held = authorization.granted(session, list(wanted), every)
    for (_, moref), (privileges, name) in wanted.items():
        missing = sorted(set(privileges) - held.get(moref, frozenset()))
        if missing:
            raise Problem(
                f"the user in VCENTER lacks {', '.join(missing)} on {name}: the suite could not "
                "remove what it makes"
            )


def _tested(given: Given, plan: Plan, rest: Sequence[str], lock: int) -> int:
    """Run the tests in their own process group, so that one interrupt reaches them once."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "VCENTER_PASSWORD_FILE"},
        "VCENTER_PASSWORD": given.password,
        "MAKEFLAGS": "",
        PLAN: plan.to_json(),
    }
    tests = subprocess.Popen(
        [*_PYTEST, *_where(rest), "-p", "no:xdist", "-p", "no:cacheprovider", *rest],
        cwd=ROOT,
        env=environment,
        pass_fds=[lock],
        process_group=0,
    )
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        return tests.wait()
    except KeyboardInterrupt:
        _say("interrupted: ends the tests, then removes what they have made")
        tests.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            tests.wait(_INTERRUPTED_WITHIN_S)
        return _INTERRUPTED
    finally:
        tests.kill()
        tests.wait()
        signal.signal(signal.SIGTERM, before)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _swept(session: Session, state: Path, mine: object, *, before: bool = False) -> int:
    """Remove what the runs that are ``mine`` have left; returns 0 if nothing stays, else 1."""
    sweep = Sweep(session, state, _say)
    try:
        with _word("removes what was made"):
            left = sweep.remove(mine)
        for text in left:
            _say(text)
        if left:
            _say("vCenter may hold things for five minutes: then try ARGS=--clean")
        elif not before:
            _say("nothing is left")
        if before:
            for name in sweep.others(mine):
                _say(f"a run of another machine or checkout has the folder {quoted(name)}")
    except errors.VmdkCacheError as failure:
        _say(f"cannot tell whether all is removed: {in_variables(failure)}; try ARGS=--clean")
        return 1
    finally:
        sweep.close()
    return 1 if left else 0


@contextlib.contextmanager
def _word(text: str) -> Iterator[None]:
    """Print a line if the block takes long."""
    timer = threading.Timer(_PATIENCE_S, _say, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(text: str) -> None:
    print(f"make contract: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
