"""`sleepwalker completion`: the script with which a shell completes commands, options, policies and files."""

from __future__ import annotations

import argparse

from sleepwalker.cli.parser import Commands, Parser, UsageError, examples, one_of
from sleepwalker.policy import Policy

SHELLS = ("bash", "zsh", "fish", "tcsh")

_DESCRIPTION = """\
Print a script that lets a shell complete sleepwalker's
commands and options, the names of policies, and files."""

_EXAMPLES = examples(
    "# bash, for this shell and for all later ones",
    'eval "$(sleepwalker completion bash)"',
    "sleepwalker completion bash > sleepwalker.bash",
    "# zsh: into a folder of $fpath",
    "sleepwalker completion zsh > _sleepwalker",
)

#: Per shell, how it completes a policy: the shipped names, and files. `{names}` are the names.
_POLICIES = {
    "bash": """
_sleepwalker_policies() {{
  compgen -W "{names}" -- "$1"
  _shtab_compgen_files "$1"
}}
""",
    "zsh": """
_sleepwalker_policies() {{
  _alternative 'names:policy:({names})' 'files:file:_files'
}}
""",
}
_COMPLETE_POLICY = {
    "bash": "_sleepwalker_policies",
    "zsh": "_sleepwalker_policies",
    "tcsh": "f",
    "fish": "(printf '%s\\n' {names}; __fish_complete_path (commandline -ct))",
}


def add(commands: Commands, whole: Parser) -> None:
    """Add `completion` to the command line, of which `whole` is the parser."""
    parser = commands.add_parser(
        "completion", help="a script that completes words in a shell", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.add_argument("shell", metavar="SHELL", type=one_of(SHELLS), choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(run=lambda args: run(args, whole))


def run(args: argparse.Namespace, whole: Parser) -> int:
    """Print the script."""
    try:
        import shtab  # noqa: PLC0415 - only this needs it
    except ImportError:
        raise UsageError("completion needs the package shtab: pip install 'sleepwalker[cli]'") from None

    if args.shell not in shtab.SUPPORTED_SHELLS:
        raise UsageError(f"this release of shtab knows {', '.join(shtab.SUPPORTED_SHELLS)} only: update it")
    names = " ".join(Policy.names())
    how = {"file": shtab.FILE, "policy": {shell: text.format(names=names) for shell, text in _COMPLETE_POLICY.items()}}
    for parser in whole.parsers():
        for action, what in parser.completions:
            vars(action)["complete"] = how[what]
    preamble = _POLICIES.get(args.shell, "").format(names=names)
    print(shtab.complete(whole, args.shell, preamble=preamble).rstrip("\n"))
    return 0
