"""Completion for bash, zsh and fish: static scripts, made from the parsers of the verbs. No process starts at TAB."""

from __future__ import annotations

import shlex
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster_dashboard.console.verbs import ALIASES, GROUPS, PROGRAM

#: Instead of a verb.
GENERAL_OPTIONS: Final = ("--help", "--version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """names: `--limit`, or none for what has no dashes. words: the values that are known in advance."""

    names: tuple[str, ...]
    help: str
    has_value: bool
    words: tuple[str, ...]
    is_file: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    name: str
    help: str
    options: tuple[Argument, ...]
    words: tuple[str, ...]
    is_file: bool

    @property
    def names(self) -> list[str]:
        return [self.name, *(alias for alias, verb in ALIASES.items() if verb == self.name)]

    @property
    def option_names(self) -> list[str]:
        return [name for option in self.options for name in option.names]


def verbs_of(parser_of: Callable[[str], ArgumentParser]) -> list[Verb]:
    return [_verb(name, words, parser_of(name)) for group in GROUPS.values() for name, words in group.items()]


def _verb(name: str, words: str, parser: ArgumentParser) -> Verb:
    shown = [_argument(action) for action in parser._actions if action.help != SUPPRESS]
    plain = [argument for argument in shown if not argument.names]
    return Verb(
        name=name,
        help=words,
        options=tuple(argument for argument in shown if argument.names),
        words=tuple(word for argument in plain for word in argument.words),
        is_file=any(argument.is_file for argument in plain),
    )


def _argument(action: Action) -> Argument:
    words: Iterable[object] = getattr(action.type, "words", None) or action.choices or ()
    return Argument(
        names=tuple(action.option_strings),
        help=" ".join((action.help or "").split()),
        has_value=action.nargs != 0,
        words=tuple(map(str, words)),
        is_file=action.type is Path or action.metavar in {"FILE", "DIR"},
    )


# --- bash -----------------------------------------------------------------------------------------

_BASH: Final = """\
# Completion of {program} for bash. To use it: source <({program} completion bash)
_{program}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}}
    local words= options= files= IFS=$' \\t\\n'
    # --option=value is three words to bash.
    if [[ $word == = ]]; then word=; elif [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        words="{verbs}"
    else
        case "$verb $before" in
{values}
            *)
                case $verb in
{plain}
                esac
                if [[ $word == -* || -z $words$files ]]; then words=$options files=; fi ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$word"))
    fi
}}
complete -F _{program} {program}
"""


def bash(verbs: Sequence[Verb]) -> str:
    values, plain = [], []
    for verb in verbs:
        for option in verb.options:
            if option.has_value:
                cases = "|".join(f'"{alias} {name}"' for alias in verb.names for name in option.names)
                values.append(f'            {cases}) words="{" ".join(option.words)}" files={_flag(option.is_file)} ;;')
        settings = f'words="{" ".join(verb.words)}" options="{" ".join(verb.option_names)}"'
        plain.append(f"                    {'|'.join(verb.names)}) {settings} files={_flag(verb.is_file)} ;;")
    return _BASH.format(
        program=PROGRAM, verbs=" ".join(_first_words(verbs)), values="\n".join(values), plain="\n".join(plain)
    )


def _flag(value: bool) -> str:
    return "1" if value else ""


def _first_words(verbs: Sequence[Verb]) -> list[str]:
    return [*(name for verb in verbs for name in verb.names), *GENERAL_OPTIONS]


# --- zsh ------------------------------------------------------------------------------------------

_ZSH: Final = """\
#compdef {program}
# Completion of {program} for zsh. To use it: source <({program} completion zsh), after compinit
_{program}() {{
    local verb=$words[2] before=$words[CURRENT-1]
    local -a known
    if (( CURRENT == 2 )); then
        known=({verbs})
        _describe verb known
        return
    fi
    case "$verb $before" in
{values}
    esac
    case $verb in
{plain}
    esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _{program} "$@"; else compdef _{program} {program}; fi
"""


def zsh(verbs: Sequence[Verb]) -> str:
    values, plain = [], []
    for verb in verbs:
        for option in verb.options:
            if option.has_value:
                cases = "|".join(f'"{alias} {name}"' for alias in verb.names for name in option.names)
                values.append(f"        ({cases}) {_zsh_words(option.words, is_file=option.is_file)}return ;;")
        known = " ".join(_described(name, option.help) for option in verb.options for name in option.names)
        words = _zsh_words(verb.words, is_file=verb.is_file)
        plain.append(f"        ({'|'.join(verb.names)})\n            {words}known=({known})")
        plain.append("            _describe -o option known ;;")
    names = " ".join(_described(name, verb.help) for verb in verbs for name in verb.names)
    return _ZSH.format(program=PROGRAM, verbs=names, values="\n".join(values), plain="\n".join(plain))


def _zsh_words(words: Sequence[str], *, is_file: bool) -> str:
    parts = [f"compadd -- {' '.join(words)}"] if words else []
    return "".join(f"{part}; " for part in [*parts, *(["_files"] if is_file else [])])


def _described(name: str, words: str) -> str:
    return shlex.quote(f"{name}:{words.replace(':', chr(92) + ':')}")


# --- fish -----------------------------------------------------------------------------------------


def fish(verbs: Sequence[Verb]) -> str:
    lines = [
        f"# Completion of {PROGRAM} for fish. To use it: {PROGRAM} completion fish | source",
        f"complete -c {PROGRAM} -f",
        f"complete -c {PROGRAM} -n __fish_use_subcommand -l version -d 'print the version'",
    ]
    for verb in verbs:
        lines += [_fish("__fish_use_subcommand", f"-a {name}", verb.help) for name in verb.names]
        typed = f"'__fish_seen_subcommand_from {' '.join(verb.names)}'"
        if verb.words or verb.is_file:
            lines.append(_fish(typed, _fish_words(verb.words, is_file=verb.is_file), ""))
        for option in verb.options:
            names = " ".join(
                f"-l {name.removeprefix('--')}" if name.startswith("--") else f"-s {name.removeprefix('-')}"
                for name in option.names
            )
            value = f" -r {_fish_words(option.words, is_file=option.is_file)}" if option.has_value else ""
            lines.append(_fish(typed, f"{names}{value}", option.help))
    return "\n".join([*lines, ""])


def _fish_words(words: Sequence[str], *, is_file: bool) -> str:
    accepted = f" -a '{' '.join(words)}'" if words else ""
    return f"{'-F' if is_file else '-f'}{accepted}"


def _fish(condition: str, what: str, words: str) -> str:
    # In single quotes fish knows two escapes: of the quote and of the backslash.
    quoted = words.replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c {PROGRAM} -n {condition} {what}" + (f" -d '{quoted}'" if words else "")


SHELLS: Final[dict[str, Callable[[Sequence[Verb]], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
