"""`optical completion`: commands and options completed by the shell."""

from __future__ import annotations

import argparse
import shlex

_BASH = """\
_optical() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words=
  if (( COMP_CWORD == 1 )); then COMPREPLY=($(compgen -W %(commands)s -- "$word")); return; fi
  if [[ $word == -* ]]; then
    case $command in
%(options)s
    esac
  else
    case "$command $before" in
%(choices)s
    esac
  fi
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$word")); else COMPREPLY=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _optical optical
"""
_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    completion = commands.add_parser(
        "completion",
        help="complete commands and options with the tab key",
        description='Prints a script for the shell. Put into ~/.bashrc: eval "$(optical completion bash)"; for zsh alike.',
    )
    completion.add_argument("shell", choices=("bash", "zsh"))
    # The parsers of all commands, as they are when the command runs.
    completion.set_defaults(work=lambda options: _print(options.shell, commands.choices))


def _print(shell: str, parsers: dict[str, argparse.ArgumentParser]) -> int:
    choices, options = [], []
    for command, parser in parsers.items():
        options.append(f"      {command}) words={shlex.quote(' '.join(sorted(parser._option_string_actions)))} ;;")
        for name, action in sorted(parser._option_string_actions.items()):
            if action.choices:
                choices.append(
                    f"      {shlex.quote(f'{command} {name}')}) words={shlex.quote(' '.join(map(str, action.choices)))} ;;"
                )
    choices += [f"      {shlex.quote('completion completion')}) words='bash zsh' ;;"]
    filled = {"commands": shlex.quote(" ".join(parsers)), "choices": "\n".join(choices), "options": "\n".join(options)}
    print((_ZSH if shell == "zsh" else "") + _BASH % filled, end="")
    return 0
