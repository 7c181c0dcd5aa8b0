"""Files that were written for mitmproxy: loaded as they are, with options that only mitmproxy knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.extend.loading.loader import load
from proxy.extend.loading.mitmproxy_compat import split_options
from proxy.model.errors import ConfigError

CONCURRENT = """
from mitmproxy.script import concurrent

@concurrent
def request(flow):
    pass
"""
WITH_OPTIONS = """
class Adds:
    def load(self, loader):
        loader.add_option("number", int, 1, "how many")

addons = [Adds()]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "guest.py"
    path.write_text(text)
    return path


@pytest.mark.inspection
def test_a_hook_in_a_thread_of_its_own_loads_before_anything_is_inspected(tmp_path: Path) -> None:
    """In a process that has imported nothing of mitmproxy's before."""
    command = "from pathlib import Path; from proxy.extend.loading.loader import load; import sys"
    load_it = "print(load(Path(sys.argv[1]), 'guest').objects[0].request.__name__)"
    file = str(written(tmp_path, CONCURRENT))
    done = subprocess.run([sys.executable, "-c", f"{command}; {load_it}", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FOR_THE_TYPE_CHECKER = """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmproxy.http import HTTPFlow

class A:
    def response(self, flow: "HTTPFlow") -> None: ...

addons = [A()]
"""


def test_files_that_do_not_import_it_do_not_bring_it(tmp_path: Path) -> None:
    command = "import sys; from pathlib import Path; from proxy.extend.loading.loader import load"
    command += "; load(Path(sys.argv[1]), 'x')"
    file = str(written(tmp_path, FOR_THE_TYPE_CHECKER))
    named = "print('mitmproxy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{command}; {named}", file], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_what_the_user_sets_for_mitmproxy_is_kept_for_it(tmp_path: Path) -> None:
    addon = load(written(tmp_path, WITH_OPTIONS), "guest", {"number": 3})
    assert dict(addon.for_mitmproxy) == {"number": 3}
    with pytest.raises(ConfigError, match="takes no options"):
        load(written(tmp_path, "class A:\n    def response(self, flow): ...\naddons = [A()]"), "guest", {"number": 3})


def test_an_addons_own_options_stay_its_own() -> None:
    class Both:
        def load(self, loader: object) -> None: ...

    table = {"relay": "tor", "number": 3}
    assert split_options((Both(),), table, ["relay"]) == ({"relay": "tor"}, {"number": 3})
    assert split_options((object(),), table, ["relay"]) == (table, {})
