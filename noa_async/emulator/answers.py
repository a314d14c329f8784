"""Answers that are no product: refusals, error pages, redirects."""

import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate

from noa_async.emulator.faults import Fault, FaultKind
from noa_async.emulator.settings import EmulatorSettings

QUOTA_429 = "Max session number {quota} exceeded"
QUOTA_403 = (
    "An exception occurred while creating a stream: Maximum number of {quota} concurrent flows "
    "achieved by the user '{user}'"
)
LOGIN_PAGE = """<!DOCTYPE html>
<html class="login-pf"><head><title>Sign in to mirror</title></head><body>
<form id="kc-form-login" action="/auth/realms/mirror/login-actions/authenticate" method="post">
<input name="username"><input name="password" type="password"></form></body></html>
"""
MAINTENANCE_PATH = "/maintenance.html"
PAGE = "<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>{}</h1></body></html>\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a short body."""

    status: int
    body: str = ""
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


def quota_refusal(settings: EmulatorSettings, user: str) -> Answer:
    """What a download past the quota gets."""
    if settings.quota_style == "503":  # nginx's own choice, without a word of a quota
        return Answer(503, PAGE.format("503 Service Unavailable"), "text/html")
    text = QUOTA_429 if settings.quota_style == "429" else QUOTA_403
    headers = {}
    if settings.quota_style == "429" and settings.retry_after is not None:
        headers["Retry-After"] = settings.retry_after
    body = text.format(quota=settings.quota, user=user)
    return Answer(int(settings.quota_style), body, headers=headers)


def fault_answer(fault: Fault, *, trusted: str, foreign: str) -> Answer | None:
    """The answer a fault puts in the place of the product; None where it leaves the product.

    `trusted` and `foreign` are the product's addresses on the two store hosts.
    """
    if fault.kind is FaultKind.TOKEN_MAINTENANCE:
        return maintenance(fault.status or 503, fault.text)
    targets = {FaultKind.REDIRECT_TRUSTED: trusted, FaultKind.REDIRECT_FOREIGN: foreign}
    if fault.kind in targets:
        return Answer(fault.status or 302, headers={"Location": targets[fault.kind]})
    known = _TEXTS.get(fault.kind)
    if known is None:
        return None
    status, text, content_type = known
    return Answer(
        fault.status or status,
        text if fault.text is None else fault.text,
        content_type,
        _retry_after(fault),
    )


def maintenance(status: int, text: str | None = None) -> Answer:
    """What a site that is down on purpose answers: a page, or a redirect to one."""
    body = PAGE.format("Down for maintenance") if text is None else text
    headers = {"Location": MAINTENANCE_PATH} if 300 <= status < 400 else {}
    return Answer(status, body, "text/html", headers)


def _oauth(error: str, description: str) -> str:
    return json.dumps({"error": error, "error_description": description})


_TEXTS = {
    FaultKind.QUOTA_TEXT: (200, QUOTA_429.format(quota=4), "text/plain"),
    FaultKind.ERROR_PAGE: (200, PAGE.format("Service temporarily unavailable"), "text/html"),
    FaultKind.EMPTY_202: (202, "", "text/plain"),
    FaultKind.QUOTA_403: (403, QUOTA_403.format(quota=4, user="demo"), "text/plain"),
    FaultKind.FORBIDDEN: (403, "Access denied", "text/plain"),
    FaultKind.NOT_FOUND: (404, "Not Found", "text/plain"),
    FaultKind.TOO_MANY: (429, QUOTA_429.format(quota=4), "text/plain"),
    FaultKind.SERVER_ERROR: (503, PAGE.format("503 Service Unavailable"), "text/html"),
    FaultKind.PAGE_ERROR: (503, PAGE.format("503 Service Unavailable"), "text/html"),
    FaultKind.PAGE_TOO_MANY: (429, "Too many requests", "text/plain"),
    FaultKind.PAGE_HTML: (200, PAGE.format("Service temporarily unavailable"), "text/html"),
    FaultKind.PAGE_JSON_ERROR: (
        200,
        '{"error": {"code": null, "message": "The database does not answer."}}',
        "application/json",
    ),
    FaultKind.PAGE_REFUSED: (404, "Not Found", "text/plain"),
    FaultKind.PAGE_LOGIN: (200, LOGIN_PAGE, "text/html"),
    FaultKind.LABEL_LOGIN: (200, LOGIN_PAGE, "text/html"),
    FaultKind.TOKEN_ERROR: (503, PAGE.format("503 Service Unavailable"), "text/html"),
    FaultKind.TOKEN_HTML: (200, PAGE.format("Service temporarily unavailable"), "text/html"),
    FaultKind.TOKEN_FORBIDDEN: (403, PAGE.format("403 Forbidden"), "text/html"),
    FaultKind.TOKEN_NOT_FOUND: (404, "Not Found", "text/plain"),
    FaultKind.TOKEN_SESSIONS: (
        400,
        _oauth("invalid_grant", "There are too many sessions"),
        "application/json",
    ),
    FaultKind.TOKEN_REFUSED: (
        401,
        _oauth("invalid_grant", "Invalid user credentials"),
        "application/json",
    ),
}


def _retry_after(fault: Fault) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after == "date":
        return {"Retry-After": formatdate(time.time() + fault.seconds, usegmt=True)}
    return {"Retry-After": fault.retry_after}
