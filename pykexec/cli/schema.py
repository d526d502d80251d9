"""``pykexec schema``: what the JSON of the other verbs looks like."""

from __future__ import annotations

import click

from pykexec.cli.terminal import say, say_line
from pykexec.render.escape import json_text


@click.command()
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """Print the JSON Schema of what a verb prints with --json, or list all.

    NAME is that of the document: 'plan' for "schema": "pykexec.plan/1".
    """
    from pykexec.schemas import names
    from pykexec.schemas import schema as schema_of

    if name is not None:
        say(json_text(schema_of(name)))
        return
    for known in names():
        say_line(f"{known:<16}{schema_of(known)['title']}")
