"""Suggest similar keys, and parse rules written as ``key=value`` text."""

import re
from collections.abc import Iterable, Mapping

from noa_async.errors import QueryError

# Splits "key=a|b,key=c" at separators that are not escaped with a backslash.
_PIECE = re.compile(r"(?:[^\\,]|\\.?)*", re.DOTALL)
_CHOICE = re.compile(r"(?:[^\\|]|\\.?)*", re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_EXAMPLE = r'Write it as "platform=SENTINEL-2,product_type=S2MSI2A|S2MSI1C,cloud_max=20".'


def unknown_key(
    what: str, key: object, known: Iterable[str], other_names: Mapping[str, str] | None = None
) -> QueryError:
    """Return the error for an unknown key, which names the most similar key or lists all.

    >>> str(unknown_key("rule key", "cloudmax", ["cloud_min", "cloud_max"]))
    'There is no rule key cloudmax. Did you mean cloud_max?'
    """
    from difflib import get_close_matches  # noqa: PLC0415 (for errors only)

    names = {name.lower(): name for name in known}
    spelt = names | {name.lower(): own for name, own in (other_names or {}).items()}
    near = get_close_matches(str(key).strip().lower(), spelt, n=1, cutoff=0.7)
    shown = key if isinstance(key, str) and key.isidentifier() else ascii(key)
    hint = f"Did you mean {spelt[near[0]]}?" if near else f"There are: {', '.join(names.values())}."
    return QueryError(f"There is no {what} {shown!s:.80}.", hint=hint)


def split_rule(text: str) -> dict[str, object]:
    r"""Split ``key=value,key=value|value`` into keys and values; the keys are not checked.

    >>> split_rule(r"polarisation=VV\,VH|HH,cloud_max=20")
    {'polarisation': ['VV,VH', 'HH'], 'cloud_max': '20'}
    """
    rule: dict[str, object] = {}
    for piece in _split(_PIECE, text):
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals:
            raise QueryError(
                f"The rule {text!r} has {piece.strip()!r} in place of key=value.",
                hint=rf"{_EXAMPLE} Write a comma within a value as \,.",
            )
        if key in rule:
            raise QueryError(
                f"The rule {text!r} has {key} twice.",
                hint=f"Write {key}=A|B to match either.",
            )
        choices = [_unescape(choice.strip(), text) for choice in _split(_CHOICE, value)]
        rule[key] = choices if len(choices) > 1 else choices[0]
    return rule


def _split(piece: re.Pattern[str], text: str) -> list[str]:
    pieces, at = [], 0
    while at <= len(text):
        found = piece.match(text, at)
        assert found is not None  # both patterns also match the empty string
        pieces.append(found[0])
        at = found.end() + 1
    return pieces


def _unescape(text: str, rule: str) -> str:
    def plain(found: re.Match[str]) -> str:
        if found[1] not in {",", "|", "\\"}:
            raise QueryError(
                f"The rule {rule!r} has a backslash before {found[1] or 'nothing'!r}.",
                hint=r"Write \, for a comma, \| for a bar, \\ for a backslash.",
            )
        return found[1]

    return _ESCAPE.sub(plain, text)
