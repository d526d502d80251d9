"""Write contrib/completions: what bash, zsh and fish offer behind kexec, pykexec, vmcore-dmesg.

They are files and not questions to the programs, so that a key press starts no Python. Run
``python -m tools.generate_completions`` after a change of options; ``--check`` compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tools.front_doors import Door, Option, doors

COMPLETIONS = Path(__file__).resolve().parent.parent / "contrib/completions"
MADE_BY = "Made by tools/generate_completions.py; change the program's options and run that."


def programs() -> dict[str, list[Door]]:
    """Return the doors of each program, its own first."""
    return {name: list(found) for name, found in groupby(doors(), lambda door: door.words[0])}


def function_of(door: Door) -> str:
    """Return the name of a shell function for a program or a verb."""
    return "_" + "_".join(door.words).replace("-", "_")


def bash(name: str, found: Sequence[Door]) -> str:
    """Return the completion of a program for bash; what has no words of its own gets files."""
    function = function_of(found[0])
    lines = [
        f"# bash completion of {name}. {MADE_BY}",
        f"{function}() {{",
        "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}",
        "    local options words",
        "    # --option=word is three words to bash.",
        "    if [[ $word == '=' ]]; then",
        "        word=''",
        "    elif [[ $before == '=' ]]; then",
        "        before=${COMP_WORDS[COMP_CWORD - 2]}",
        "    fi",
    ]
    if len(found) == 1:
        lines += _bash_words(found[0], "    ")
    else:
        lines += _bash_verbs(found)
    lines += [
        "    [[ $word != -* ]] || words=$options",
        '    [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")',
        "}",
        f"complete -o default -F {function} {name}",
    ]
    return "\n".join(lines) + "\n"


def verb_of(door: Door) -> str:
    """Return the words behind the program's name."""
    return " ".join(door.words[1:])


def _patterns(words: Iterable[str]) -> str:
    return " | ".join(f"'{word}'" if " " in word or not word else word for word in words)


def _bash_verbs(found: Sequence[Door]) -> Iterator[str]:
    yield from (
        "    local verb='' index",
        "    for ((index = 1; index < COMP_CWORD; index++)); do",
        '        case "$verb${verb:+ }${COMP_WORDS[index]}" in',
        f"        {_patterns(verb_of(door) for door in found[1:])})",
        "            verb+=${verb:+ }${COMP_WORDS[index]}",
        "            ;;",
        "        esac",
        "    done",
        "    case $verb in",
    )
    for door in found:
        yield f"    {_patterns([verb_of(door)])})"
        yield from _bash_words(door, "        ")
        yield "        ;;"
    yield "    esac"


def _bash_words(door: Door, indent: str) -> Iterator[str]:
    yield f"{indent}options='{' '.join(door.names)}' words='{' '.join(door.verbs)}'"
    chosen = [option for option in door.options if option.choices]
    free = [option for option in door.options if option.metavar and not option.choices]
    if not chosen and not free:
        return
    yield f"{indent}case $before in"
    for option in chosen:
        words = " ".join(option.choices)
        yield f"{indent}{_patterns(option.names)}) options='{words}' words=$options ;;"
    if free:
        yield f"{indent}{_patterns(name for option in free for name in option.names)}) return ;;"
    yield f"{indent}esac"


def zsh(name: str, found: Sequence[Door]) -> str:
    """Return the completion of a program for zsh, one function for each verb."""
    lines = [f"#compdef {name}", f"# {MADE_BY}", ""]
    for door in found:
        lines += [f"{function_of(door)}() {{", *_zsh_body(door), "}", ""]
    lines.append(f'{function_of(found[0])} "$@"')
    return "\n".join(lines) + "\n"


def _zsh_body(door: Door) -> Iterator[str]:
    specs = [spec for option in door.options for spec in _zsh_specs(option)]
    if not door.verbs:
        if door.operand:
            specs.append(f"'*:{door.operand}:_files'")
        yield "    _arguments -s -S \\"
        yield from (f"        {spec} \\" for spec in specs[:-1])
        yield f"        {specs[-1]}"
        return
    yield "    local state state_descr line curcontext=$curcontext"
    yield "    typeset -A opt_args"
    yield "    _arguments -C \\"
    yield from (f"        {spec} \\" for spec in specs)
    yield "        '1:verb:->verb' '*::argument:->rest'"
    yield "    case $state in"
    yield f"    verb) compadd {' '.join(door.verbs)} ;;"
    below = f"{function_of(door)}_${{words[1]//-/_}}"
    yield f"    rest) (( $+functions[{below}] )) && \\"
    yield f"        {below} ;;"
    yield "    esac"


def _zsh_specs(option: Option) -> Iterator[str]:
    together = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    told = option.help.replace("[", "\\[").replace("]", "\\]").replace("'", "'\\''")
    action = f"({' '.join(option.choices)})" if option.choices else ""
    if option.is_file:
        action = "_files"
    for name in option.names:
        if not option.metavar:
            yield f"'{together}{name}[{told}]'"
        elif option.optional:
            yield f"'{together}{name}=-[{told}]::{option.metavar}:{action}'"
        else:
            mark = "=" if name.startswith("--") else "+"
            argument = option.metavar.replace("|", " or ")
            yield f"'{together}{name}{mark}[{told}]:{argument}:{action}'"


def fish(name: str, found: Sequence[Door]) -> str:
    """Return the completion of a program for fish."""
    lines = [f"# fish completion of {name}. {MADE_BY}"]
    if len(found) > 1:
        verbs = _patterns(verb_of(door) for door in found[1:]).replace(" | ", " ")
        lines += [
            f"function __{name}_at --description 'Tell whether this is the verb so far'",
            "    set -l verb",
            "    for word in (commandline -opc)[2..]",
            f"        if contains -- (string join -- ' ' $verb $word) {verbs}",
            "            set -a verb $word",
            "        end",
            "    end",
            '    test "$verb" = "$argv"',
            "end",
        ]
    for door in found:
        here = f"complete -c {name}"
        if len(found) > 1:
            here += f" -n '{' '.join((f'__{name}_at', *door.words[1:]))}'"
        lines.append(f"{here} {'-F' if door.operand else '-f'}")
        if door.verbs:
            lines.append(f"{here} -a '{' '.join(door.verbs)}'")
        lines += [f"{here} {_fish_option(option)}" for option in door.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    words = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    ]
    if option.choices:
        words.append(f"{'' if option.optional else '-x '}-a '{' '.join(option.choices)}'")
    elif option.metavar:
        words.append("-r -F" if option.is_file else "-x")
    told = option.help.replace("\\", "\\\\").replace("'", "\\'")
    return f"{' '.join(words)} -d '{told}'"


def completions() -> dict[Path, str]:
    """Return every file with its contents."""
    files = {}
    for name, found in programs().items():
        files[COMPLETIONS / "bash" / name] = bash(name, found)
        files[COMPLETIONS / "zsh" / f"_{name}"] = zsh(name, found)
        files[COMPLETIONS / "fish" / f"{name}.fish"] = fish(name, found)
    return files


def main() -> int:
    """Write the files, or compare them; returns the exit code."""
    stale = []
    for path, text in completions().items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path)
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale and "--check" in sys.argv[1:]:
        print(f"stale: {', '.join(map(str, stale))}: run python -m tools.generate_completions")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
