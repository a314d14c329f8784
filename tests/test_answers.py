"""What refusals mean: the table, with answers as servers of this family and stores send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from noa_async.answers import Meaning, Sender, classify, is_login_address, looks_like_text

KEYCLOAK_PAGE = (
    b'<!DOCTYPE html><html class="login-pf"><head><title>Sign in to mirror</title></head><body>'
    b'<form id="kc-form-login" action="https://sso/realms/mirror/login-actions/authenticate?x=1">'
    b'<input type="password" name="password"></form></body></html>'
)
PORTAL_404 = (
    b"<html><title>Not found</title><form>User <input name=u> <input type='password'></form></html>"
)
EXPIRED_S3 = (
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>'
    b"<X-Amz-Expires>300</X-Amz-Expires></Error>"
)
DENIED_S3 = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
SQUID = {"X-Squid-Error": "ERR_ACCESS_DENIED 0", "Content-Type": "text/html"}


def s3(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>m</Message></Error>'.encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "meaning"),
    [
        # Quotas: in the status, the body, a header field or the phrase, whatever the status.
        (429, {}, b"", Meaning.QUOTA),
        (403, {}, b"An exception occured: maximum number of 4 concurrent flows achieved", "quota"),
        (403, {"cause-message": "Max session number 4 exceeded."}, b"", "quota"),
        (500, {"X-Error-Message": "User quota exceeded"}, b"<html>Error</html>", "quota"),
        (200, {}, b"<html><h1>Too Many Requests</h1></html>", "quota"),
        (400, {}, b'{"detail": "Rate limit reached"}', "quota"),
        (503, {}, s3("SlowDown"), "quota"),
        (403, {"X-RateLimit-Remaining": "0"}, b"", "quota"),
        (202, {}, b"You have exceeded the maximum number of retrieval requests", "quota"),
        (403, {"X-RateLimit-Remaining": "17"}, b"", Meaning.PERMANENT),
        (404, {}, b"no product quota_report.zip", Meaning.ABSENT),
        # Maintenance.
        (200, {}, b"<html><h1>We are down for maintenance</h1></html>", "maintenance"),
        (503, {}, b"<title>Scheduled downtime</title>", "maintenance"),
        (302, {}, b"The site is temporarily unavailable", "maintenance"),
        (403, {"X-Message": "Down for maintenance"}, b"", "maintenance"),
        # The token.
        (401, {}, b"", Meaning.LOGIN),
        (200, {}, KEYCLOAK_PAGE, Meaning.LOGIN),
        (403, {}, KEYCLOAK_PAGE, Meaning.LOGIN),
        (404, {}, PORTAL_404, Meaning.ABSENT),
        (503, {}, PORTAL_404, Meaning.TEMPORARY),
        # Links and stores.
        (403, {}, EXPIRED_S3, Meaning.EXPIRED),
        (403, {}, s3("SignatureDoesNotMatch"), Meaning.EXPIRED),
        (400, {}, s3("ExpiredToken"), Meaning.EXPIRED),
        (
            403,
            {},
            b"AuthenticationFailed: Signature not valid in the specified time frame",
            "expired",
        ),
        (403, {}, DENIED_S3, Meaning.PERMANENT),
        (403, {}, s3("InvalidObjectState"), Meaning.OFFLINE),
        (409, {}, s3("BlobArchived"), Meaning.OFFLINE),
        (404, {}, s3("NoSuchKey"), Meaning.ABSENT),
        (400, {}, s3("RequestTimeout"), Meaning.TEMPORARY),
        # Proxies.
        (407, {}, b"", Meaning.PROXY),
        (403, SQUID, b"<html>Access Denied</html>", Meaning.PROXY),
        (503, SQUID, b"<html>Connection failed</html>", Meaning.TEMPORARY),
        # What only the status tells.
        (202, {}, b"", Meaning.OFFLINE),
        (200, {}, b"<html>Welcome</html>", Meaning.TEMPORARY),
        (500, {}, b"", Meaning.TEMPORARY),
        (408, {}, b"", Meaning.TEMPORARY),
        (421, {}, b"", Meaning.TEMPORARY),
        (404, {}, b"", Meaning.ABSENT),
        (410, {}, b"", Meaning.ABSENT),
        (403, {}, b"You may not read this", Meaning.PERMANENT),
        (400, {}, b"", Meaning.PERMANENT),
        (451, {}, b"", Meaning.PERMANENT),
    ],
)
def test_the_table(status, headers, body, meaning):
    refusal = classify(status, CIMultiDict(headers), body, had_token=True)
    assert refusal.meaning == meaning
    assert refusal.status == status


@pytest.mark.parametrize(
    ("body", "meaning", "status"),
    [
        # The service's own words, with a status within them or none.
        (b'{"error": {"code": null, "message": "Invalid filter: att"}}', Meaning.PERMANENT, 200),
        (b'{"error": {"message": {"lang": "en", "value": "No such set"}}}', "permanent", 200),
        (b'{"detail": "Unknown attribute"}', "permanent", 200),
        (b'{"detail": [{"loc": ["query"], "msg": "bad filter"}]}', "permanent", 200),
        (b'{"error": "bad"}', "permanent", 200),
        (b'{"error": {"code": "503", "message": "No database"}}', Meaning.TEMPORARY, 503),
        (b'{"status": 500, "error": "Internal Server Error"}', "temporary", 500),
        (b'{"error": {"code": "404", "message": "No set"}}', Meaning.ABSENT, 404),
        (b'{"error": {"code": 401, "message": "Token expired"}}', Meaning.LOGIN, 401),
        (b'{"statusCode": 403, "message": "Not for you"}', "permanent", 403),
        (b'{"message": "Too many requests"}', Meaning.QUOTA, 200),
        (b'{"error": {"message": "Down for maintenance"}}', Meaning.MAINTENANCE, 200),
        # No errors.
        (b"{}", Meaning.TEMPORARY, 200),
        (b"[]", Meaning.TEMPORARY, 200),
        (b'{"value": 3}', Meaning.TEMPORARY, 200),
        (b'{"error": null}', Meaning.TEMPORARY, 200),
        (b'{"error": {"message"', Meaning.TEMPORARY, 200),
        (b'{"value": [{"Id": "x"}], "error": {"message": "Lost"}}', Meaning.TEMPORARY, 200),
        (KEYCLOAK_PAGE, Meaning.LOGIN, 200),
    ],
)
def test_a_json_error_with_status_200_counts_as_what_it_says_if_json_was_due(body, meaning, status):
    refusal = classify(200, {}, body, had_token=True, json_due=True)
    assert (refusal.meaning, refusal.status) == (meaning, status)


def test_a_json_error_in_place_of_bytes_is_no_last_word():
    assert classify(200, {}, b'{"error": "bad"}').meaning is Meaning.TEMPORARY


def test_a_401_to_a_request_without_the_token_is_no_log_in():
    assert classify(401, {}, had_token=False).meaning is Meaning.PERMANENT


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (403, b"<!DOCTYPE html><html>Forbidden</html>", Meaning.TEMPORARY),
        (404, b"<html>Not Found</html>", Meaning.TEMPORARY),
        (401, b"<html>Authorization Required</html>", Meaning.TEMPORARY),
        (405, b"<!-- nginx --> <!-- --><html>Not Allowed</html>", Meaning.TEMPORARY),
        (400, b'{"error": "sessionLimitExceeded"}', Meaning.QUOTA),
        (404, b'{"error": "RESTEASY003210"}', Meaning.ABSENT),
        (200, KEYCLOAK_PAGE, Meaning.TEMPORARY),
        (
            400,
            b'{"error": "invalid_grant", "error_description": "Too many sessions"}',
            Meaning.QUOTA,
        ),
        (401, b"<html>Down for maintenance</html>", Meaning.MAINTENANCE),
        (401, b'{"error": "invalid_grant"}', Meaning.PERMANENT),
    ],
)
def test_the_log_in_service(status, body, meaning):
    assert classify(status, {}, body, sender=Sender.LOGIN).meaning is meaning


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"code": null, "message": "No such filter."}}', "No such filter"),
        (b'{"error": {"message": {"lang": "en", "value": "No such filter."}}}', "No such filter"),
        (b'{"detail": "Query too long"}', "Query too long"),
        (b'{"detail": {"ErrorCode": 1, "ErrorMessage": "x", "message": "Bad date"}}', "Bad date"),
        (
            b'{"detail": [{"loc": ["q"], "msg": "field required"}, {"msg": "b"}]}',
            "field required; b",
        ),
        (
            b'{"error": "invalid_grant", "error_description": "Account disabled"}',
            "Account disabled",
        ),
        (b'{"timestamp": 1, "status": 403, "error": "Forbidden", "message": ""}', "Forbidden"),
        (b"<Error><Code>A</Code><Message>Access Denied</Message></Error>", "Access Denied"),
        (b"<m:error><m:message xml:lang='en'>Bad URI</m:message></m:error>", "Bad URI"),
        (b"<html><title>Oops</title><script>var quota = 1</script></html>", "Oops"),
        (b"Plain words.\r\nMore.", "Plain words. More"),
        (b'{"status": 1}', ""),
        (b"", ""),
    ],
)
def test_the_sentence_in_an_error(body, said):
    assert classify(400, {}, body).said == said


def test_the_sentence_of_a_header_field_or_a_phrase():
    assert classify(500, {"X-Error-Message": "Disk failed"}).said == "Disk failed"
    assert classify(500, {}, reason="Disk failed").said == "Disk failed"
    assert classify(500, {}, reason="Error").said == ""


def test_scripts_and_styles_say_nothing():
    page = b"<html><style>.maintenance {}</style><script>if (quota) tooMany()</script>Hello</html>"
    assert classify(200, {}, page).meaning is Meaning.TEMPORARY


def test_an_address_of_a_log_in_page():
    assert (
        classify(200, {}, url="https://a/realms/b/protocol/openid-connect/auth?x").meaning
        == "log-in"
    )
    assert not is_login_address("https://a/odata/v1/Products(1)/$value")


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b"PK\x03\x04\x14\x00", False),
        (b"CDF\x01", False),
        (b"\x89HDF\r\n\x1a\n", False),
        (b"II*\x00", False),
        (b"\x1f\x8b\x08", False),
        (b"<?xml version='1.0'?>", True),
        (b"Too many", True),
        ("\x1b[31mZu viele für dich".encode(), True),
        (b"", True),
    ],
)
def test_text_is_told_from_products(start, text):
    assert looks_like_text(start) is text


@given(
    st.integers(100, 999),
    st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3),
    st.binary(max_size=200) | st.text('<>/!-"{}[]:,abctitle ', max_size=80).map(str.encode),
    st.sampled_from(Sender),
    st.booleans(),
)
def test_whatever_is_sent_has_a_meaning(status, headers, body, sender, had_token):
    refusal = classify(status, headers, body, sender=sender, had_token=had_token)
    assert isinstance(refusal.meaning, Meaning)
    assert refusal.said.isprintable()
