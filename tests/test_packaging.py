"""The files that say what to install agree with each other and with what is installed."""

import importlib.util
import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from jupyterlab.commands import get_app_dir
from jupyterlab_server.settings_utils import get_settings
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def by_name(lines):
    """Return {canonical name: requirement} for lines such as "numpy>=2.1"."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pins():
    """Return {canonical name: requirement} of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return by_name(line for line in lines if line and not line.startswith("#"))


def lower_bound(requirement):
    """Return the version of the requirement's only specifier, which must be a lower bound."""
    (specifier,) = requirement.specifier
    assert specifier.operator == ">=", requirement
    return Version(specifier.version)


LEARNERS = by_name(PROJECT["dependencies"])
TESTERS = by_name(PROJECT["optional-dependencies"]["test"])
DIRECT = {**LEARNERS, **TESTERS}
PEERS = by_name(PROJECT["optional-dependencies"]["benchmark"])


@pytest.fixture(scope="module")
def launcher():
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", DIRECT | PEERS)
def test_pyproject_holds_lower_bounds_and_constraints_exact_versions(name):
    requirement = {**DIRECT, **PEERS}[name]
    assert lower_bound(requirement)
    pin = pins()[name]
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    assert requirement.specifier.contains(specifier.version)


def test_every_pin_is_exact():
    for pin in pins().values():
        assert re.fullmatch(r"==\d+(\.\d+)*", str(pin.specifier)), pin


@pytest.mark.parametrize("name", pins())
def test_the_pinned_versions_are_the_ones_that_run(name):
    (specifier,) = pins()[name].specifier
    try:
        installed = version(name)
    except PackageNotFoundError:
        assert name in PEERS  # only those who run the benchmark install them
        return
    assert Version(installed).public == specifier.version


def test_the_conda_environment_has_what_pyproject_asks_for():
    lines = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
    conda = by_name(line.replace(" ", "") for line in lines)
    assert conda.pop("python").specifier == SpecifierSet(PROJECT["requires-python"])
    assert not conda.pop("pip").specifier
    assert set(conda) == {CONDA_NAMES.get(name, name) for name in DIRECT}
    for name, requirement in DIRECT.items():
        assert lower_bound(conda[CONDA_NAMES.get(name, name)]) >= lower_bound(requirement)


def test_the_conda_environment_takes_only_the_course_itself_from_pip():
    assert ENVIRONMENT["channels"] == ["conda-forge"]
    (from_pip,) = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert from_pip == {"pip": ["-e ."]}


def test_the_same_pythons_everywhere(launcher):
    oldest, newest = launcher.OLDEST_PYTHON, launcher.NEWEST_PYTHON
    after = (newest[0], newest[1] + 1)
    assert PROJECT["requires-python"] == ">={}.{},<{}.{}".format(*oldest, *after)
    tested = {job["python"] for job in WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["include"]}
    assert {"{}.{}".format(*oldest), "{}.{}".format(*newest)} <= tested


def test_the_hosted_ci_covers_the_three_systems():
    systems = {job["system"] for job in WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["include"]}
    assert {system.partition("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}


def test_the_first_lesson_is_there(launcher):
    assert (ROOT / launcher.FIRST_LESSON).is_file()


def test_installing_the_course_switches_jupyterlabs_first_question_off(tmp_path):
    lab = Path(get_app_dir())
    assert lab.is_relative_to(sys.prefix)
    notification, _ = get_settings(
        str(lab / "settings"),
        str(lab / "schemas"),
        str(tmp_path),
        "@jupyterlab/apputils-extension:notification",
    )
    properties = notification["schema"]["properties"]
    assert properties["fetchNews"]["default"] == "false"
    assert properties["checkForUpdates"]["default"] is False


def test_the_settings_of_the_launcher_name_nbgraders_extensions():
    """A name that nbgrader no longer uses would switch nothing off."""
    ours = ROOT / "lessons_lib/jupyterlab/jupyter_server_config.d/nbgrader.json"
    theirs = Path(sys.prefix) / "etc/jupyter/jupyter_server_config.d/nbgrader.json"
    off, on = (
        json.loads(file.read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"]
        for file in (ours, theirs)
    )
    assert set(off) == set(on)
    assert not any(off.values())
