"""``vmdk-cache check`` finds problems, and repairs those of the cache's own objects."""

from __future__ import annotations

import json

from tests.cli.conftest import Lab, Run
from tests.fakes.images import FakeImageSource
from tests.fakes.openstack_api import PASSWORD, openstack_api
from tests.scenario.conftest import volume


def test_a_broken_template_is_found_and_then_removed(lab: Lab, run: Run) -> None:
    assert run.json("check") == []
    made = lab.warm()
    lab.write_record(made, "{}")
    [found] = run.json("check", "--no-directories", code=1)
    assert (found["Finding"], found["Name"], found["Fixed"]) == ("record-broken", made.name, False)
    assert "delete it" in found["What To Do"]
    assert "record-broken" in run("check", "--fix", "--no-directories").stdout
    assert lab.templates() == []


def test_the_table_fits_a_terminal_and_breaks_no_word(lab: Lab, run: Run) -> None:
    made = lab.warm()
    lab.write_record(made, "{}")
    done = run("check", "--no-directories", code=1, env={"COLUMNS": "80"})
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "| Finding       | Name " in done.stdout and "| record-broken |" in done.stdout
    assert "Backend" not in done.stdout and "Fixed" not in done.stdout
    fixed = run("check", "--no-directories", "--fix", env={"COLUMNS": "80"}).stdout
    assert "| Fixed |" in fixed and max(map(len, fixed.splitlines())) <= 80


def test_foreign_vms_are_reported_without_an_error(lab: Lab, run: Run) -> None:
    lab.write_record(lab.warm(), '{"schema": 99}')
    [found] = run.json("check", "--fix", "--no-directories")
    assert (found["Finding"], found["Fixed"]) == ("foreign", False)
    assert len(lab.templates()) == 1


def test_directories_are_deleted_only_with_both_options(lab: Lab, run: Run) -> None:
    made = lab.warm()
    lab.forget(made)
    [found] = run.json("check", "--fix", code=1)
    assert (found["Finding"], found["Fixed"]) == ("directory-orphaned", False)
    assert "--yes" in run("check", "--remove-directories", code=2).stderr
    run("check", "--remove-directories", "--no-directories", "--yes", code=2)
    [fixed] = run.json("check", "--remove-directories", "--yes")
    assert fixed["Fixed"]
    assert run.json("check") == []


SERVICE_USER = {
    "send_service_user_token": "true",
    "auth_type": "password",
    "auth_url": "http://keystone.example/v3",
    "username": "cinder",
    "password": "secret",
}


def test_a_cinder_that_cannot_ask_glance_by_itself_is_in_order(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", auth_strategy=None)
    for lacking in ("auth_type", "send_service_user_token"):
        lab.configure("service_user", **{**SERVICE_USER, lacking: None})
        [found] = run.json("check", "--no-directories", code=1)
        assert (found["Finding"], found["Name"]) == ("no-glance-user", "[service_user]")
        assert found["Where"] == str(lab.path)
        assert "set send_service_user_token = true" in found["What To Do"]
        assert "secret" not in str(found)
    lab.configure("service_user", **SERVICE_USER)
    assert run.json("check", "--no-directories") == []
    lab.configure("service_user", **dict.fromkeys(SERVICE_USER))
    lab.configure("glance", auth_type="password")
    assert run.json("check", "--no-directories") == []
    lab.configure("glance", auth_type=None)
    lab.configure("DEFAULT", auth_strategy="noauth")
    assert run.json("check", "--no-directories") == []


def make_volume(lab: Lab, number: int) -> str:
    """Create a volume of project p1 as the driver does; returns its id."""
    with lab.cache() as cache:
        cache.images.create_volume(lab.image(), volume(number), FakeImageSource(lab.disk_image))
    return volume(number).id


def test_virtual_machines_without_a_volume_are_listed_and_stay(lab: Lab, run: Run) -> None:
    kept, lost = make_volume(lab, 1), make_volume(lab, 2)
    lab.configure("vmware2", **lab.backend())  # the same vCenter
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    with openstack_api() as api:
        api.volumes = {kept: ("p1", None)}
        done = run(
            *("check", "--fix", "--no-directories", "-f", "json"), code=1, env=api.environment()
        )
    [found] = json.loads(done.stdout)
    assert (found["Backend"], found["Finding"], found["Fixed"]) == (
        "vmware1",
        "backing-orphaned",
        False,
    )
    assert lost in found["Name"]
    assert PASSWORD not in done.stdout + done.stderr
    assert lab.vcenter.find_vm(found["Name"]) is not None


def test_virtual_machines_of_another_clouds_projects_are_not_listed(lab: Lab, run: Run) -> None:
    make_volume(lab, 1)
    with openstack_api() as api:
        done = run("check", "--no-directories", "-f", "json", env=api.environment())
    assert json.loads(done.stdout) == []
    assert "1 virtual machines without a volume are in folders of projects" in done.stderr


def test_where_cinder_cannot_be_asked_the_check_says_so(lab: Lab, run: Run) -> None:
    make_volume(lab, 1)
    done = run("check", "--no-directories")
    assert "did not look for virtual machines without a volume: without Keystone" in done.stderr
    assert "did not look for" in run("check", "--no-directories", "--backings", code=1).stderr
    assert "did not look" not in run("check", "--no-directories", "--no-backings").stderr


def test_it_says_last_what_it_looked_at(lab: Lab, run: Run) -> None:
    lab.warm()
    said = run("check", "--no-backings").stderr
    looked_at = "vmdk-cache: looked at 1 template and 2 datastores of vmware1"
    assert said == f"{looked_at}: nothing to report\n"
    lab.write_record(lab.warm(2), "{}")
    said = run("check", "--no-backings", "--no-directories", code=1).stderr
    assert said == "vmdk-cache: looked at 2 templates of vmware1: 1 finding\n"


def test_programs_and_the_quiet_do_not_read_what_it_looked_at(lab: Lab, run: Run) -> None:
    assert run("check", "--no-backings", "-f", "json").stderr == ""
    assert run("-q", "check", "--no-backings").stderr == ""
