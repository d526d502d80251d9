"""Random scripts in GRUB's language that end, and show what they do by ``echo`` alone."""

from __future__ import annotations

from random import Random

_VALUES = (
    "",
    "x",
    "ab",
    "1",
    "10",
    " a b ",
    "*",
    "a;b",
    "$y",
    "q'r",
    'd"e',
    "\\",
    "a\\*",
    "é",
)
_NAMES = ("a", "b", "c", "_d", "E1")
_COMPARISONS = ("=", "==", "!=", "<", "<=", ">", ">=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge",
                "-pgt", "-plt")  # fmt: skip
_FILES = ("d", "d/", "e", "x", "no", "d/one.cfg")
_SPOILERS = ("|", "&", ";;", "}", "{", "$", '"', "'", ">", "fi", "then", "done", "[[", "${", "\\")


class ScriptWriter:
    """Writes one script; ``number`` keeps its functions apart from other scripts'."""

    def __init__(self, random: Random, number: int) -> None:
        self._random = random
        self._prefix = f"f{number}_"
        self._functions: list[str] = []
        self._loops = 0

    def script(self) -> str:
        """Return a script of a few statements, now and then with something wrong in it."""
        lines = []
        for _ in range(self._random.randint(2, 7)):
            if self._random.random() < 0.25:
                lines.append(self._function())
            lines.append(self._statement(0))
        text = "\n".join(lines)
        # A spoilt condition may make a loop that never ends.
        if self._random.random() < 0.3 and "while" not in text and "until" not in text:
            at = self._random.randrange(len(text))
            text = text[:at] + self._random.choice(_SPOILERS) + text[at:]
        return text + "\n" + self._show()

    def _show(self) -> str:
        return "echo end " + " ".join(f'"${name}"' for name in _NAMES)

    def _word(self) -> str:
        pick = self._random
        pieces = []
        for _ in range(pick.choice((1, 1, 1, 2, 3))):
            name = pick.choice((*_NAMES, "1", "2", "10", "#", "?", "unset"))
            value = pick.choice(_VALUES)
            pieces.append(
                pick.choice(
                    (
                        pick.choice(("x", "yz", "7", "a#b", "-", "=", "%@!", "[", ".")),
                        "'" + value.replace("'", "") + "'",
                        '"'
                        + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
                        + '"',
                        f"${name}",
                        f"${{{name}}}",
                        f'"${name}"',
                        f'"<${{{name}}}>"',
                        pick.choice(("$@", "$*", '"$@"', '"$*"', '$"t"')),
                        pick.choice(("\\ ", "\\$", "\\\\", "\\;", "\\'", "\\q", "\\\n")),
                    )
                )
            )
        return "".join(pieces)

    def _words(self, least: int = 0, most: int = 3) -> str:
        return " ".join(self._word() for _ in range(self._random.randint(least, most)))

    def _test(self) -> str:
        pick = self._random
        terms = []
        for _ in range(pick.choice((1, 1, 2, 3))):
            first, second = self._word(), self._word()
            term = pick.choice(
                (
                    f"{first} {pick.choice(_COMPARISONS[:7])} {second}".replace("<", "\\<").replace(
                        ">", "\\>"
                    ),
                    f"{pick.choice(('1', '010', '0x1f', '-3', 'v2', '$#'))} "
                    f"{pick.choice(_COMPARISONS[7:])} {pick.choice(('1', '8', '31', 'v11', ''))}",
                    f"{pick.choice(('-n', '-z'))} {first}",
                    f"-{pick.choice('def')} $prefix/{pick.choice(_FILES)}",
                    # GRUB's host file system can open directories, which no other of its can.
                    f"-s $prefix/{pick.choice(('e', 'x', 'no'))}",
                    first,
                    f"( {first} {pick.choice(('-o', '-a'))} ! {second} )",
                )
            )
            terms.append(pick.choice(("", "", "! ")) + term)
        joined = terms[0]
        for term in terms[1:]:
            joined += pick.choice((" -a ", " -o ", " ")) + term
        return pick.choice((f"[ {joined} ]", f"test {joined}"))

    def _condition(self) -> str:
        pick = self._random
        simple = pick.choice(
            (self._test(), "true", "false", f"{pick.choice(_NAMES)}=x", self._call())
        )
        return pick.choice(("", "", "! ")) + simple

    def _call(self) -> str:
        if not self._functions:
            return "true"
        return f"{self._random.choice(self._functions)} {self._words()}"

    def _body(self, depth: int) -> str:
        count = self._random.randint(1, 2)
        return "; ".join(self._statement(depth + 1) for _ in range(count))

    def _statement(self, depth: int) -> str:
        pick = self._random
        kinds = ["echo", "echo", "set", "assign", "call", "eval", "odd", "return"]
        if depth < 3:
            kinds += ["if", "for", "while", "if"]
        if self._loops:
            kinds += ["break"]
        kind = pick.choice(kinds)
        if kind == "echo":
            return f"echo {self._words(1)}"
        if kind == "set":
            return f"set {pick.choice(_NAMES)}={self._word()} {self._words(0, 1)}"
        if kind == "assign":
            return f"{pick.choice(_NAMES)}={self._word()}"
        if kind == "call":
            return self._call()
        if kind == "eval":
            inner = pick.choice(("echo", "a=", "set b=")) + " " + self._words(0, 2)
            return "eval '" + inner.replace("'", "") + "'"
        if kind == "odd":
            return pick.choice(
                (
                    f"unset {pick.choice(_NAMES)}",
                    f"export {pick.choice(_NAMES)}",
                    f"shift {pick.choice(('', '1', '2', 'x'))}",
                    f"setparams {self._words()}",
                    "echo $? $#",
                    "true",
                    "false",
                    "! true",
                    f"for i in $prefix/d/*.cfg; do source {pick.choice(('$i', '/no'))}; done",
                    f"{pick.choice(('foo', 'bar'))} {{ echo no }}",
                )
            )
        if kind == "return":
            return pick.choice(("return", "return 0", "return 1", "return x", "true"))
        if kind == "break":
            return pick.choice(("break", "continue")) + pick.choice(("", " 1", " 2", " 0"))
        return self._compound(kind, depth)

    def _compound(self, kind: str, depth: int) -> str:
        pick = self._random
        newline = pick.choice(("; ", "\n", "\n\n"))
        if kind == "if":
            text = f"if {self._condition()}{newline}then {self._body(depth)}{newline}"
            if pick.random() < 0.3:
                text += f"elif {self._condition()}; then {self._body(depth)}{newline}"
            if pick.random() < 0.5:
                text += f"else {self._body(depth)}{newline}"
            return text + "fi"
        self._loops += 1
        if kind == "for":
            text = f"for {pick.choice(_NAMES)} in {self._words(0, 3)}{newline}"
            text += f"do {self._body(depth)}; done"
        else:
            # Each loop counts for itself, so that it ends whatever its body does.
            counter = f"n{self._loops}{depth}{pick.randrange(1000)}"
            word, sign = pick.choice((("while", "!="), ("until", "=")))
            text = (
                f'{counter}=\n{word} [ "${counter}" {sign} xxx ]{newline}'
                f"do {counter}=x${counter}; {self._body(depth)}; done"
            )
        self._loops -= 1
        return text

    def _function(self) -> str:
        name = f"{self._prefix}{len(self._functions)}"
        loops, self._loops = self._loops, 0
        body = f"echo {name} $# $1; {self._body(1)}"
        self._loops = loops
        self._functions.append(name)
        return f"function {name} {{\n{body}\n}}"


def script(seed: int) -> str:
    """Return the script of a seed, always the same."""
    return ScriptWriter(Random(seed), seed).script()
