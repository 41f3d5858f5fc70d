"""For every error: the right exit code, one line that names it and the remedy, no traceback."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.conftest import TIMEOUT_S, Lab, Run

#: Root may read and write everything; without these capabilities, file modes apply to it.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Its stderr, which must be a single line; stdout must be empty.

    On a busy machine, the fake vCenter may be announced as late.
    """
    assert done.stdout == "", done.stdout
    [line] = [line for line in done.stderr.splitlines() if "has not answered" not in line]
    return line


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"vmware_host_password": "wrong"}, 4, ["vmware_host_password"]),
        ({"vmware_host_port": 1}, 4, ["127.0.0.1:1", "vmware_host_ip"]),
        ({"vmware_ca_file": "/nowhere/ca.pem"}, 3, ["vmware_ca_file", "/nowhere/ca.pem"]),
        ({"vmware_ca_file": None}, 4, ["vmware_ca_file"]),
        ({"image_cache_max_count": "many"}, 3, ["image_cache_max_count", "many"]),
        ({"image_cache_max_percent": 101}, 3, ["image_cache_max_percent", "cinder.conf", "100"]),
        ({"vmware_cluster_name": "Nowhere"}, 3, ["vmware_cluster_name", "Nowhere"]),
        ({"vmware_datastore_regex": "("}, 3, ["vmware_datastore_regex"]),
        ({"vmware_host_ip": None}, 3, ["[vmware1] vmware_host_ip", "cinder.conf"]),
        ({"vmware_host_password": "$hush"}, 3, ["[vmware1] vmware_host_password", "$$"]),
        ({"volume_driver": "cinder.volume.drivers.lvm.LVMVolumeDriver"}, 3, ["--backend"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_wrong_option_is_named(
    lab: Lab, run: Run, change: dict[str, object], code: int, says: list[str]
) -> None:
    lab.configure(**change)
    line = one_line(run("list", code=code))
    for part in says:
        assert part in line, line
    assert "hush" not in line


def test_a_certificate_of_another_issuer_is_refused(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    trustme = pytest.importorskip("trustme")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    lab.configure(vmware_ca_file=tmp_path / "other.pem")
    assert "vmware_ca_file" in one_line(run("list", code=4))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--backend", "vmware9"], ["vmware9", "vmware1"]),
        (["--backend", "coordination"], ["coordination"]),
        (["--config-file", "/nowhere/cinder.conf"], ["/nowhere/cinder.conf"]),
        (["--config-dir", "/nowhere"], ["/nowhere"]),
    ],
)
def test_names_on_the_command_line_must_exist(
    run: Run, arguments: list[str], says: list[str]
) -> None:
    line = one_line(run("list", *arguments, code=3))
    for part in says:
        assert part in line, line


@pytest.mark.skipif(os.path.exists("/etc/cinder"), reason="this host has a cinder.conf")
def test_without_a_file_the_error_names_the_searched_paths(
    run: Run, tmp_path: pathlib.Path
) -> None:
    environment = {"HOME": str(tmp_path)}
    (tmp_path / "cinder.conf").unlink()
    line = one_line(run("list", code=3, env=environment, bare=True))
    assert "--config-file" in line and "/etc/cinder" in line


def test_a_line_that_cannot_be_parsed_is_not_repeated(lab: Lab, run: Run) -> None:
    """The line may be half of a password."""
    lab.path.write_text("[vmware1]\nvmware_host_password\nhush hush\n")
    line = one_line(run("list", code=3))
    assert str(lab.path) in line and "2" in line and "hush" not in line
    lab.path.write_bytes(b"\x80\x81\xff")
    assert "configuration" in one_line(run("list", code=3))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["nonsense"], "unknown command 'nonsense'"),
        (["help", "nonsense"], "unknown command 'nonsense'"),
        (["--nonsense", "list"], "unknown option --nonsense"),
        (["list", "--nonsense"], "--nonsense"),
        (["list", "-f", "xml"], "xml"),
        (["list", "-c", "Nonsense"], "Nonsense"),
        (["purge", "--all", "--expired"], "--expired"),
        (["show"], "IMAGE"),
        (["list", "--log-file", "/nowhere/log"], "--log-file"),
    ],
)
def test_wrong_usage_has_an_exit_code_of_its_own(run: Run, arguments: list[str], says: str) -> None:
    done = run(*arguments, code=2)
    assert says in done.stderr and done.stdout == ""


def test_a_wrong_column_is_reported_before_anything_is_changed(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    made = lab.warm()
    for wrong in ("-c", "--sort-column"):
        done = run("purge", "--all", "--yes", wrong, "Nonsense", code=2)
        assert f"argument {wrong}: unknown column 'Nonsense'" in done.stderr
        run("samples", "samples", wrong, "Nonsense", code=2)
    assert lab.templates() == [made.name] and not (tmp_path / "samples").exists()


def test_the_environment_may_hold_the_password(lab: Lab, run: Run) -> None:
    lab.configure(vmware_host_password=None)
    secret = lab.vcenter.password.replace("$", "$$")
    run("list", env={"OS_VMWARE1__VMWARE_HOST_PASSWORD": secret})
    assert "vmware_host_password" in one_line(run("list", code=3))


def test_ctrl_c_ends_a_command_in_one_line(lab: Lab, run: Run) -> None:
    """In the middle of a request, with an open session, which must not stay in vCenter."""
    with subprocess.Popen(
        run.command("list"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=run.environment(),
    ) as process:
        rule = lab.vcenter.fault_rules.add(
            "CreateFilter", action=lambda: process.send_signal(signal.SIGINT), delay_s=0.2
        )
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert rule.hits == 1
    run.check(out + err)
    assert (process.returncode, out, err) == (130, "", "vmdk-cache: interrupted\n")
    assert lab.vcenter.request_log.count("Logout") == 1


def test_a_reader_that_closes_the_pipe_is_no_error(lab: Lab, run: Run) -> None:
    lab.warm()
    with subprocess.Popen(
        run.command("list", "-f", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=run.environment(),
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.wait(TIMEOUT_S)
    assert (process.returncode, err) == (141, "")


@pytest.fixture
def unprivileged(run: Run) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command as a user to whom file modes apply."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which(UNPRIVILEGED[0]) is None:
            pytest.skip("root, and no setpriv (util-linux)")
        prefix = UNPRIVILEGED

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*prefix, *run.command(*arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=run.environment(),
        )
        run.check(done.stdout + done.stderr)
        return done

    return start


def test_files_that_this_user_may_not_use_are_named(
    lab: Lab, unprivileged: Callable[..., subprocess.CompletedProcess[str]], tmp_path: pathlib.Path
) -> None:
    lab.warm()
    (tmp_path / "locks").chmod(0o500)
    locked = unprivileged("purge", "--all", "--yes")
    (tmp_path / "locks").chmod(0o700)
    assert locked.returncode == 4 and "[coordination] backend_url" in locked.stderr
    assert len(lab.templates()) == 1

    (tmp_path / "counts").mkdir()
    (tmp_path / "counts" / "ledger").touch()
    (tmp_path / "counts" / "ledger").chmod(0)
    lab.configure(image_cache_ledger=tmp_path / "counts" / "ledger")
    uncounted = unprivileged("history")
    assert uncounted.returncode == 3 and "image_cache_ledger" in uncounted.stderr
    purged = unprivileged("purge", "--all", "--yes")
    assert (purged.returncode, lab.templates()) == (0, []), (
        "the purge was requested, counting was not"
    )
    assert purged.stderr.startswith("WARNING") and "image_cache_ledger" in purged.stderr

    lab.path.chmod(0)
    unread = unprivileged("list")
    lab.path.chmod(0o600)
    assert unread.returncode == 3 and str(lab.path) in one_line(unread)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for another user")
def test_root_makes_no_lock_that_cinder_could_not_take(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    lab.warm()
    os.chown(tmp_path / "locks", 12345, 12345)
    line = one_line(run("purge", "--all", "--yes", code=3))
    assert "sudo -u" in line and "[coordination] backend_url" in line
    assert len(lab.templates()) == 1
    run("list")  # read-only commands take no lock


def test_help_needs_neither_a_configuration_nor_pyvmomi(run: Run) -> None:
    """Help is the first thing that users read, and completion scripts read it often."""
    program = (
        "import sys\n"
        "from vmdk_cache.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pyVmomi', 'oslo_config', 'rich', 'glanceclient', 'cinder'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    assert "purge" in done.stdout
    assert run("--version", bare=True).stdout.startswith("vmdk-cache ")
    assert "IMAGE" in run("show", "--help", bare=True).stdout
    assert "complete -F _vmdk_cache vmdk-cache" in run("complete", bare=True).stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("list",), ("list", "-q")])
def test_a_full_disk_is_no_defect_of_this_program(
    lab: Lab, run: Run, arguments: tuple[str, ...]
) -> None:
    lab.warm()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            run.command(*arguments),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            env=run.environment(),
        )
    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert line == "vmdk-cache: cannot write the output: [Errno 28] No space left on device"


def test_a_name_that_the_terminal_cannot_write_ends_no_command(lab: Lab, run: Run) -> None:
    """Here it is a datastore's name; an image's works the same way."""
    with lab.cache() as cache:
        datastore = lab.vcenter.datastore("DC0_DS0").moref
        cache.session.invoke("Datastore", datastore, "RenameDatastore", newName="größe")
    said = run("capacity", env={"PYTHONIOENCODING": "ascii"}).stdout
    assert r"gr\xf6\xdfe" in said


def test_a_traceback_is_shown_on_request_and_holds_no_password(lab: Lab, run: Run) -> None:
    lab.configure(vmware_host_port=1)
    done = subprocess.run(
        run.command("--debug", "list"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=run.environment(),
    )
    assert done.returncode == 4 and "Traceback" in done.stderr
    assert lab.vcenter.password not in done.stderr


def test_every_machine_readable_form_has_exact_values(lab: Lab, run: Run) -> None:
    made = lab.warm()
    size = made.size_bytes
    columns = ("-c", "Virtual Size", "-c", "Last Used")
    assert run("list", "-f", "csv", *columns).stdout.splitlines()[1] == f'{size},""'
    assert f"Virtual Size: {size}\n" in run("list", "-f", "yaml", *columns).stdout
