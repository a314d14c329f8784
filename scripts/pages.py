"""What the documentation holds beside ``docs/``: a page for each verb, and pages from elsewhere.

The hooks of mkdocs.yml. A verb's page is made of the same click command as its ``--help``.
"""

from __future__ import annotations

import html
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noa_async.cli.manner import Manner
from noa_async.cli.program import VERBS, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "benchmarks/results/*")


def cli_pages() -> dict[str, str]:
    """The pages of the command line: their names, and their Markdown."""
    pages = {"reference/cli/index.md": _index()}
    for verb in VERBS:
        pages[f"reference/cli/{verb}.md"] = verb_page(verb)
    return pages


def verb_page(verb: str) -> str:
    """What ``noa-async VERB --help`` says, as Markdown."""
    command: click.Command = import_module(VERBS[verb].module).command
    with program.make_context("noa-async", [verb], obj=Manner()) as parent:
        context = command.make_context(verb, [], parent=parent, resilient_parsing=True)
    parts = [f"# noa-async {verb}", f"```text\n{context.get_usage()}\n```"]
    parts += _prose(command.help or "")
    for section, records in _sections(command, context).items():
        rows = [f"| {_code(names)} | {_text(text)} |" for names, text in records]
        parts += [f"## {section}", "\n".join(["| Option | Meaning |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _index() -> str:
    rows = [f"| [`{name}`]({name}.md) | {verb.summary} |" for name, verb in VERBS.items()]
    parts = [
        "# The command line",
        "`noa-async VERB [OPTIONS]`, also `python -m noa_async`. From what `--help` says:",
        "\n".join(["| Verb | What it does |", "|---|---|", *rows]),
        *_prose(program.epilog or ""),
        "The codes in full: [Exit codes, statuses, errors](../../reference-tables.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> Iterator[str]:
    """The paragraphs of a help text; those that click leaves as they are become blocks."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.lstrip().startswith("\b"):
            kept = paragraph.replace("\b", "").strip("\n")
            yield f"```text\n{inspect.cleandoc(kept)}\n```"
        else:
            yield _text(paragraph)


def _sections(command: click.Command, context: click.Context) -> dict[str, list[tuple[str, str]]]:
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            name = getattr(parameter, "section", "Output and help")
            sections.setdefault(name, []).append(record)
    return sections


def _code(text: str) -> str:
    """As code in a table, where Markdown's own would show a bar with its backslash."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _text(text: str) -> str:
    """Plain text, with nothing in it that Markdown would take for its own."""
    return re.sub(r"([\\|*_<\[{`])", r"\\\1", text)


def on_files(files: Any, config: Any) -> Any:
    """Add the verbs' pages, and those that lie elsewhere in the repository."""
    from mkdocs.structure.files import File  # noqa: PLC0415 (tests read the pages without it)

    for name, text in cli_pages().items():
        files.append(File.generated(config, name, content=text))
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links from ``docs/`` to elsewhere, and back, as they lie side by side in the site."""
    if page.file.src_uri in ELSEWHERE:
        return markdown.replace("](docs/", "](").replace("](../docs/", "](../")
    if "/" not in page.file.src_uri:
        return markdown.replace("](../", "](")
    return markdown
