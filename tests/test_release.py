"""Laws of a release: what pyproject.toml says of versions, the files beside it say too."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench import smoke
from docs.site import conf

ROOT = Path(__file__).parent.parent
DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = DECLARED["project"]
NAMED = [
    found[1]
    for one in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one))
]


def needs() -> list[Requirement]:
    """What charlm and its extras need."""
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(one) for ones in (PROJECT["dependencies"], *extras) for one in ones]


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """Each requirement has one, >=, and constraints-oldest.txt has that and nothing else."""
    bounds = {}
    for need in needs():
        (bound,) = need.specifier
        assert bound.operator == ">=", need
        bounds[canonicalize_name(need.name)] = bound.version.split(".")
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints-oldest.txt").read_text(), re.M)
    oldest = {canonicalize_name(name): version.split(".") for name, version in pins}
    assert oldest.keys() == bounds.keys()
    for name, bound in bounds.items():
        rest = oldest[name][len(bound) :]
        assert oldest[name][: len(bound)] == bound, name
        assert set(rest) <= {"0"}, name


def test_the_pythons_that_are_named_are_those_that_are_tried() -> None:
    """By the classifiers, by requires-python, by make smoke and by the workflow."""
    assert PROJECT["requires-python"] == f">={NAMED[0]}"
    assert tuple(NAMED) == smoke.PYTHONS
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    assert jobs["smoke"]["strategy"]["matrix"]["python"] == NAMED
    for name in ("test", "site"):
        (setup,) = (one for one in jobs[name]["steps"] if "with" in one)
        assert setup["with"]["python-version"] == NAMED[0]


def test_the_workflow_runs_what_the_makefile_has() -> None:
    """Each `make` in it is a target."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    lines = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {line.split()[1] for line in lines} == {"lint", "test", "smoke", "site"}
    assert all(line.split()[0] == "make" and line.split()[1] in targets for line in lines)


def test_all_extras_are_tried() -> None:
    """make smoke installs each, and its script uses each."""
    from bench import smoke_script

    extras = {*PROJECT["optional-dependencies"]}
    assert {*smoke.EXTRAS.split(",")} == extras
    assert smoke_script.EXTRAS.keys() == extras


def test_every_page_is_in_the_menu_of_the_site() -> None:
    """Once."""
    listed = [name for names in conf.MENU.values() for name in names.split()]
    there = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    assert sorted(listed) == sorted(there)
    assert all((ROOT / f"{page}.md").exists() for page in conf.BESIDE)
    assert os.path.samefile(conf.ROOT, ROOT)
