"""An error of ours on its way from one process to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from noa_async.errors import NoaError


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of ours as it can be sent; the classes' own arguments do not matter then."""

    kind: type[NoaError]
    message: str
    facts: dict[str, Any]

    @classmethod
    def of(cls, error: NoaError) -> Self:
        return cls(type(error), error.message, dict(vars(error)))

    def error(self) -> NoaError:
        """The same error, as if raised here."""
        error = self.kind.__new__(self.kind, self.message)
        error.args = (self.message,)
        vars(error).update(self.facts)
        return error


def as_sent(error: BaseException) -> Failure | str:
    """What is told of ``error`` elsewhere; a text is a defect: a traceback's last line."""
    return Failure.of(error) if isinstance(error, NoaError) else f"{type(error).__name__}: {error}"
