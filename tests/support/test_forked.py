"""A forked Byway is a process of its own, and what it does is what a new Python does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from proxy import __version__
from tests.support.byway import Byway
from tests.support.forked import begin, fork
from tests.support.waiting import until
from tests.support.without import copy_of_byway

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each Byway has a Python of its own")

ROOT = Path(__file__).parents[2]


async def ran(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Returns the exit code, and what was written to stdout and stderr."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = fork(arguments, {**os.environ, **variables}, (), stdout=out.fileno(), stderr=err.fileno())
        assert process.returncode is None
        code = await process.wait()
        out.seek(0)
        err.seek(0)
        return code, out.read().decode(), err.read().decode()


@pytest.mark.parametrize("words", ["--version", "status --state {}", "no-such-command", "relay list --help"])
async def test_output_and_exit_code_are_those_of_a_new_python(tmp_path: Path, words: str) -> None:
    given = words.format(tmp_path).split()
    new = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "proxy", *given), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await new.communicate()
    assert await ran(*given) == (new.returncode, out.decode(), err.decode())


async def test_its_environment_is_the_one_that_was_given(tmp_path: Path) -> None:
    _, told, _ = await ran("config", "path", HOME=str(tmp_path), XDG_CONFIG_HOME="")
    assert str(tmp_path) in told


async def test_a_sitecustomize_is_run_before_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import proxy\nproxy.__version__ = 'prepared'\n")
    assert await ran("--version", PYTHONPATH=str(tmp_path)) == (0, "byway prepared\n", "")


@pytest.mark.parametrize("forked", [True, False])
async def test_signals_reach_it_and_others_run_on(tmp_path: Path, *, forked: bool) -> None:
    async with Byway(tmp_path / "a", forked=forked) as one, Byway(tmp_path / "b", forked=forked) as other:
        assert one.pid != other.pid
        assert Path(os.readlink(f"/proc/{one.pid}/fd/2")) == one.said
        await one.kill()
        assert one.process is not None
        assert one.process.returncode == -9
        assert (await other.ask("/v1/status"))["pid"] == other.pid
        assert await other.stop() == 0


async def test_none_outlives_the_tests(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.support.byway import Byway\n"
        "async def main():\n"
        "    byway = Byway(Path(sys.argv[1]))\n"
        "    await byway.start()\n"
        "    print(byway.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(tmp_path)), cwd=ROOT, stdout=subprocess.PIPE
    )
    told, _ = await process.communicate()
    await until(lambda: not Path(f"/proc/{int(told)}/cmdline").exists() or _is_dead(int(told)))


def _is_dead(pid: int) -> bool:
    """Whether it is a zombie. In a container the first process may not wait for those that have lost their parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("locale", "arrow"), [("C", "->"), ("C.UTF-8", "→")])
def test_a_program_at_a_terminal_knows_it(tmp_path: Path, locale: str, arrow: str) -> None:
    program = tmp_path / "byway"
    program.write_text(
        "import os, sys\n"
        "from proxy.terminal.terminal import prepare_streams\n"
        "prepare_streams()\n"
        "print([each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr)], sys.argv, '→')\n"
        "print('at once', file=sys.stderr)\n"
        "os.write(1, b'last\\n')\n"
        "sys.exit(3)\n"
    )
    ours, its = pty.openpty()
    _, code = begin(["word"], {**os.environ, "LC_ALL": locale}, streams=[its] * 3, program=program)
    os.close(its)
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other side has ended
        while part := os.read(ours, 1000):
            said += part
    os.close(ours)
    with open(code) as ended:
        assert ended.read() == "3"
    assert said.decode().splitlines() == [f"[True, True, True] ['{program}', 'word'] {arrow}", "at once", "last"]


async def test_byway_is_imported_by_a_path_of_its_own(tmp_path: Path) -> None:
    at = copy_of_byway(tmp_path / "copy")
    file = at / "proxy" / "__init__.py"
    file.write_text(file.read_text().replace(f'"{__version__}"', '"99.0"'))
    assert await ran("--version", PYTHONPATH=str(at)) == (0, "byway 99.0\n", "")
    assert await ran("--version") == (0, f"byway {__version__}\n", "")
