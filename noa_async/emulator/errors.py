"""How a handler says no: a status with the body a real server sends."""


class RefusedError(Exception):
    """An answer that is not what was asked for: its status, sentence and extra headers."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}

    def body(self) -> dict[str, object]:
        """The OData form of an error."""
        return {"error": {"code": None, "message": self.message}}


def bad_request(message: str) -> RefusedError:
    """A 400 with this sentence."""
    return RefusedError(400, message)
