"""``make contract`` with a variable that cannot be right: one line names it, and nothing begins."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Iterator

import pytest
import trustme

from tests.contract.__main__ import main
from tests.contract.given import Problem, read
from tests.contract_run.servers import PASSWORD, command
from tests.fakes.account import add_documented_account
from tests.fakes.vcenter import Model, VCenter

USER = "cinder@vsphere.local"
RIGHT = {"VCENTER": "https://cinder@vc.example", "VCENTER_PASSWORD": PASSWORD}


def test_a_url_is_read_with_every_kind_of_user() -> None:
    for written, user in (
        ("cinder", "cinder"),
        ("cinder@vsphere.local", "cinder@vsphere.local"),
        ("cinder%40vsphere.local", "cinder@vsphere.local"),
        ("VSPHERE.LOCAL\\cinder", "VSPHERE.LOCAL\\cinder"),
    ):
        for address, server in (
            ("vc.example", "vc.example:443"),
            ("vc.example:8443/", "vc.example:8443"),
            ("192.0.2.1/sdk", "192.0.2.1:443"),
        ):
            found = read({**RIGHT, "VCENTER": f"https://{written}@{address}"})
            assert found is not None
            assert (found.user, found.server) == (user, server)


def test_without_a_vcenter_none_is_given() -> None:
    assert read({"CA": "ca.pem", "VCENTER_PASSWORD": PASSWORD}) is None


def test_a_password_file_is_read_as_it_is_and_shown_nowhere(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "password"
    file.write_text(" p@ss word \nmore\n")
    found = read({"VCENTER": RIGHT["VCENTER"], "VCENTER_PASSWORD_FILE": str(file)})
    assert found is not None
    assert found.password == " p@ss word "
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"VCENTER": "http://cinder@vc.example"}, "VCENTER"),
        ({"VCENTER": "vc.example"}, "VCENTER"),
        ({"VCENTER": "cinder:secret@vc.example"}, "VCENTER"),
        ({"VCENTER": "https://cinder:secret@vc.example"}, "VCENTER"),
        ({"VCENTER": "https://vc.example"}, "VCENTER"),
        ({"VCENTER": "https://cinder@"}, "VCENTER"),
        ({"VCENTER": "https://cinder@vc.example:secret"}, "VCENTER"),
        ({"VCENTER": "https://cinder@vc.example/ui?secret"}, "VCENTER"),
        ({"VCENTER": "https://cinder@[::1"}, "VCENTER"),
        ({"VCENTER_PASSWORD": ""}, "VCENTER_PASSWORD"),
        ({"VCENTER_PASSWORD_FILE": "/there/is/none"}, "are both set"),
        ({"VCENTER_PASSWORD": "", "VCENTER_PASSWORD_FILE": "/there/is/none"}, "/there/is/none"),
        ({"VCENTER_PASSWORD": "", "VCENTER_PASSWORD_FILE": "/dev/null"}, "VCENTER_PASSWORD_FILE"),
        ({"MAKEFLAGS": " -- VCENTER_PASSWORD=secret"}, "VCENTER_PASSWORD"),
        ({"CA": "/there/is/none"}, "CA '/there/is/none'"),
        ({"CA": __file__}, "CA"),
    ],
)
def test_what_cannot_be_used_is_named_and_no_secret_shown(
    changes: dict[str, str], named: str
) -> None:
    with pytest.raises(Problem) as refused:
        read({**RIGHT, **changes})
    said = str(refused.value)
    assert named in said
    assert "secret" not in said
    assert PASSWORD not in said
    assert "vmware_" not in said
    assert "\n" not in said


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    with VCenter(Model(clusters=2), password=PASSWORD) as running:
        yield running


def variables(vcenter: VCenter, **changes: str) -> dict[str, str]:
    return {
        "VCENTER": f"https://{vcenter.user}@{vcenter.host}:{vcenter.port}",
        "CA": vcenter.ca_file,
        "VCENTER_PASSWORD": PASSWORD,
        **changes,
    }


def refusal(given: dict[str, str], *arguments: str) -> str:
    """The one line that the command says."""
    running = command(given, *arguments)
    out, said = running.communicate(timeout=120)
    assert (running.returncode, out) == (2, ""), said
    assert "Traceback" not in said
    assert PASSWORD not in said
    assert "vmware_" not in said
    (line,) = [line for line in said.splitlines() if "waits for an answer" not in line]
    return line


def test_a_wrong_password_is_sent_once(vcenter: VCenter) -> None:
    line = refusal(variables(vcenter, VCENTER_PASSWORD="wrong"))
    assert "refused the log-in" in line and "VCENTER_PASSWORD" in line
    assert vcenter.request_log.count("Login") == 1


def test_a_certificate_of_another_issuer_names_ca(vcenter: VCenter, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    line = refusal(variables(vcenter, CA=str(other)))
    assert "is not trusted" in line and "set CA to" in line


def test_a_vcenter_that_nobody_runs_is_named() -> None:
    line = refusal({"VCENTER": "https://cinder@127.0.0.1:1", "VCENTER_PASSWORD": PASSWORD})
    assert "127.0.0.1:1" in line and "VCENTER" in line


def test_a_vcenter_that_never_answers_is_given_up_and_said_so_meanwhile() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        running = command(
            {"VCENTER": f"https://cinder@127.0.0.1:{port}", "VCENTER_PASSWORD": PASSWORD}
        )
        assert running.stderr is not None
        assert "waits for an answer of 127.0.0.1" in running.stderr.readline()
        _, said = running.communicate(timeout=120)
    assert running.returncode == 2
    assert said.startswith("make contract: VCENTER: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"), [("CLUSTER", "DC9_C9"), ("DATASTORES", "DC9_DS9"), ("DATACENTER", "DC9")]
)
def test_a_place_that_is_not_there_is_named(vcenter: VCenter, name: str, value: str) -> None:
    line = refusal(variables(vcenter, **{name: value}))
    assert name in line
    assert vcenter.request_log.count("CreateFolder") == 0
    assert vcenter.request_log.count("AddCustomFieldDef") == 0


def test_an_account_that_could_not_remove_what_it_makes_makes_nothing(vcenter: VCenter) -> None:
    add_documented_account(vcenter, user=USER, password=PASSWORD)
    line = refusal(variables(vcenter, VCENTER=f"https://{USER}@{vcenter.host}:{vcenter.port}"))
    assert "Folder.Delete" in line
    assert vcenter.request_log.count("CreateFolder") == 0
    assert vcenter.request_log.count("AddCustomFieldDef") == 0


def test_cleaning_needs_a_vcenter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VCENTER", raising=False)
    assert main(["--clean"]) == 2
    assert capsys.readouterr().err == "make contract: --clean needs VCENTER\n"
