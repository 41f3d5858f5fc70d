"""``vmdk-cache show`` prints everything that is known of an image's templates."""

from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Lab, Run


@pytest.mark.parametrize("by", ["image_id", "name", "moref"])
def test_a_template_is_found_by_any_of_its_names(lab: Lab, run: Run, by: str) -> None:
    made = lab.warm()
    shown = run.json("show", getattr(made, by))
    [template] = shown["Templates"]
    assert (shown["Image"], shown["Copies"]) == (made.image_id, 1)
    assert (template["Name"], template["Managed Object"]) == (made.name, made.moref)
    assert template["Last Warmed"] is not None and template["Imported By"]
    assert template["Deployment"].startswith("auto-")
    assert (template["Verdict"], template["Rule"]) == ("keep", None)


def test_the_purges_verdict_and_its_reason_are_shown(lab: Lab, run: Run) -> None:
    made = lab.warm()
    lab.vcenter.clock.advance(90_000)
    [template] = run.json("show", lab.image().id)["Templates"]
    assert (template["Verdict"], template["Rule"]) == ("remove", "expired")
    assert "more than 86400 s" in template["Reason"]
    table = run("show", lab.image().id).stdout
    assert made.name in table and "Verdict: remove" in table and "None" not in table
    times = [line for line in table.splitlines() if "Created:" in line or "Expires:" in line]
    assert len(times) == 2 and all(re.search(r":\d\d UTC +\|$", line) for line in times)


@pytest.mark.parametrize("by", ["debian-13", "debi"])
def test_an_image_is_found_by_its_name_or_a_prefix(lab: Lab, run: Run, by: str) -> None:
    lab.warm(1, name="debian-13")
    lab.warm(2, name="ubuntu-24.04")
    shown = run.json("show", by)
    assert (shown["Image"], shown["Image Name"]) == (lab.image(1).id, "debian-13")
    assert len(shown["Templates"]) == 1


def test_an_unknown_image_is_an_error_that_offers_the_nearest_ones(lab: Lab, run: Run) -> None:
    lab.warm(1, name="debian-13")
    done = run("show", "debian-12", code=1)
    offer = f"did you mean 'debian-13' ({lab.image().id})?"
    assert f"no image 'debian-12' in the cache of vmware1; {offer}" in done.stderr
    assert done.stdout == ""
