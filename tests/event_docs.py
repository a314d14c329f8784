"""The tables of docs/events.md, generated from the event dataclasses.

Regenerate them with ``python -m tests.event_docs``.
"""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

from noa_async import events
from noa_async.cli.sentences import event_name, level_of_kind

DOCS = Path(__file__).parent.parent / "docs" / "events.md"
HEADING = "\n## The library's events\n"
NEXT = "\n## The command line's own\n"
ENDED = "always if the product failed, with `-vv` if it was present, otherwise unless `-q` is given"
TOLD = {-1: "always", 0: "unless `-q` is given", 1: "unless `-q` is given", 2: "with `-vv`"}


def fields_of(kind: type) -> list[tuple[str, str, str]]:
    """Name, type and sentence of each field; Python itself does not keep the sentence."""
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    rows = []
    for field, sentence in pairwise([*definition.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign):
            told = isinstance(sentence, ast.Expr) and isinstance(sentence.value, ast.Constant)
            assert told, f"{kind.__name__}.{ast.unparse(field.target)} has no sentence"
            text = " ".join(str(sentence.value.value).split()).replace("``", "`")
            text = re.sub(r"\bNone\b", "null", text)
            rows.append((ast.unparse(field.target), ast.unparse(field.annotation), text))
    return rows


def json_type(annotation: str) -> str:
    names = {
        "str": "string", "int": "number", "float": "number", "bool": "true or false",
        "None": "null", "datetime": "string", "Status": "string",
    }  # fmt: skip
    return " or ".join(names[part] for part in annotation.split(" | "))


def section(kind: type) -> str:
    """One event: what it means, when it is told, its fields."""
    doc = " ".join((inspect.getdoc(kind) or "").split()).replace("``", "`")
    told = ENDED if kind is events.ProductFinished else TOLD[level_of_kind(kind)]
    head = f"### `{event_name(kind)}`\n\n{doc}\nWritten {told}; "
    head += f"in Python `{kind.__name__}`.\n"
    fields = fields_of(kind)
    if not fields:
        return head
    rows = [f"| `{name}` | {json_type(kind_)} | {text} |" for name, kind_, text in fields]
    return "\n".join([head, "| Field | JSON | Meaning |", "|---|---|---|", *rows, ""])


def made() -> str:
    """All events, in the order of the code."""
    return "\n" + "\n".join(section(kind) for kind in get_args(events.Event))


def refreshed(text: str) -> str:
    """The page with these tables in place of its own."""
    before, _, rest = text.partition(HEADING)
    _, _, after = rest.partition(NEXT)
    return f"{before}{HEADING}{made()}{NEXT}{after}"


if __name__ == "__main__":
    DOCS.write_text(refreshed(DOCS.read_text("utf-8")), "utf-8")
