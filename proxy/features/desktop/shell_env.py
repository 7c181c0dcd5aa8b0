"""The environment variables that make programs of a terminal use Byway, in the syntax of each shell.

They name an `http://` proxy, in lower and upper case. `ALL_PROXY` is never set: many programs, such as Python's
clients, fail with the `socks://` URLs that it usually has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.home_network import NO_PROXY

_PLAIN = re.compile(r"[\w ./\\:~+,@-]*")
"""A command that cannot end a comment in any shell, whatever its path: all lines are for `eval`."""


class Shell(StrEnum):
    """The shells whose syntax is known. The values are those of `byway env --shell`."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    PWSH = "pwsh"
    NU = "nu"
    CMD = "cmd"


def variables(proxy: Destination) -> dict[str, str]:
    """Returns the variables for a Byway at `proxy`, by name."""
    lower = {"http_proxy": f"http://{proxy}", "https_proxy": f"http://{proxy}", "no_proxy": NO_PROXY}
    return lower | {name.upper(): value for name, value in lower.items()}


def shell_of(env: Mapping[str, str], *, windows: bool) -> Shell:
    """Returns the shell of the user: that of $SHELL, on Windows PowerShell or cmd. An unknown one counts as bash, whose
    syntax works in all POSIX shells."""
    name = PurePosixPath(env.get("SHELL", "").replace("\\", "/")).name.removesuffix(".exe")
    if name in set(Shell):
        return Shell(name)
    if windows and not name:
        return Shell.PWSH if "PSModulePath" in env else Shell.CMD
    return Shell.BASH


def script(shell: Shell, values: Mapping[str, str], *, command: Sequence[str] = ("byway",)) -> str:
    """Returns the lines that set the variables in `shell`, and comments with the commands that use and unset them.
    `command` is the command with which the user starts Byway (`command_words`)."""
    syntax = _SYNTAX[shell]
    typed = "byway"
    if all(map(_PLAIN.fullmatch, command)):
        quoted = " ".join(syntax.quote(word) if " " in word else word for word in command)
        typed = f"{syntax.call}{quoted}" if " " in command[0] else quoted
    # Windows does not tell the two spellings apart.
    names = [name for name in values if name.islower() or not syntax.ignores_case]
    spellings = [[name for name in names if name.islower()], [name for name in names if name.isupper()]]
    unset = [line for spelling in spellings if spelling for line in syntax.unset(spelling)]
    lines = [
        *(syntax.assign(name, values[name]) for name in names),
        f"{syntax.comment} To use it: {syntax.use.replace('byway env', f'{typed} env')}",
        *(f"{syntax.comment} To undo it: {line}" for line in unset),
    ]
    return "\n".join(lines)


@frozen_dataclass
class _Syntax:
    assign: Callable[[str, str], str]
    unset: Callable[[Sequence[str]], list[str]]
    use: str
    comment: str = "#"
    ignores_case: bool = False
    quote: Callable[[str], str] = lambda word: f"'{word}'"
    """Quotes a word with spaces and no other special character."""
    call: str = ""
    """The prefix of a quoted program, which would otherwise be a value."""


def _single_quoted(value: str, escaped: str) -> str:
    return "'" + value.replace("'", escaped) + "'"


def _fish(value: str) -> str:
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def _nu(value: str) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


_POSIX = _Syntax(
    assign=lambda name, value: f"export {name}={_single_quoted(value, chr(39) + chr(92) + chr(39) * 2)}",
    unset=lambda names: [f"unset {' '.join(names)}"],
    use='eval "$(byway env)"',
)

_SYNTAX: Mapping[Shell, _Syntax] = {
    Shell.BASH: _POSIX,
    Shell.ZSH: _POSIX,
    Shell.FISH: _Syntax(
        assign=lambda name, value: f"set -gx {name} {_fish(value)}",
        unset=lambda names: [f"set -e {' '.join(names)}"],
        use="byway env --shell fish | source",
    ),
    Shell.PWSH: _Syntax(
        assign=lambda name, value: f"$env:{name} = {_single_quoted(value, chr(39) * 2)}",
        # On Windows, the first spelling has removed the second one already.
        unset=lambda names: [f"Remove-Item {', '.join(f'Env:{name}' for name in names)} -ErrorAction Ignore"],
        use="byway env --shell pwsh | Out-String | Invoke-Expression",
        call="& ",
    ),
    Shell.NU: _Syntax(
        assign=lambda name, value: f"$env.{name} = {_nu(value)}",
        unset=lambda names: [f"hide-env {' '.join(names)}"],
        use="byway env --shell nu | save -f byway.nu; then: source byway.nu",
        call="^",
    ),
    Shell.CMD: _Syntax(
        assign=lambda name, value: f'set "{name}={value}"',
        unset=lambda names: [f'set "{name}="' for name in names],
        use="for /f \"delims=\" %i in ('byway env --shell cmd') do %i",
        comment="rem",
        ignores_case=True,
        quote=lambda word: f'"{word}"',
    ),
}
