from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import OpenSite


LOGIN = {
    "client_id": "mirror-client",
    "grant_type": "password",
    "username": "demo",
    "password": "demo",
}


async def test_login_is_answered_in_keycloaks_form(open_site: OpenSite) -> None:
    site = await open_site(products=1, login=False)
    status, body = await site.token(**LOGIN)
    assert status == 200
    assert body["expires_in"] == 300
    assert body["refresh_expires_in"] == 1800
    assert body["token_type"] == "Bearer"
    assert body["access_token"].count(".") == 2
    assert {"refresh_token", "session_state", "scope", "not-before-policy"} <= set(body)


async def test_refusals(open_site: OpenSite) -> None:
    site = await open_site(products=1, login=False)
    wrong = {"error": "invalid_grant", "error_description": "Invalid user credentials"}
    assert await site.token(**LOGIN | {"password": "no"}) == (401, wrong)
    spent = {"error": "invalid_grant", "error_description": "Token is not active"}
    refresh = {"client_id": "mirror-client", "grant_type": "refresh_token", "refresh_token": "x"}
    assert await site.token(**refresh) == (400, spent)
    status, body = await site.token(**LOGIN | {"client_id": "other"})
    assert (status, body["error"]) == (401, "invalid_client")
    status, body = await site.token(**LOGIN | {"grant_type": "magic"})
    assert (status, body["error"]) == (400, "unsupported_grant_type")
    assert site.emulator.stats.token_refused == 4


async def test_a_refresh_token_rotates_and_works_once(open_site: OpenSite) -> None:
    site = await open_site(products=1, login=False)
    _, first = await site.token(**LOGIN)
    form = {"client_id": "mirror-client", "grant_type": "refresh_token"}
    status, second = await site.token(**form, refresh_token=first["refresh_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert second["session_state"] == first["session_state"]
    assert (await site.token(**form, refresh_token=first["refresh_token"]))[0] == 400
    assert (await site.token(**form, refresh_token=second["refresh_token"]))[0] == 200
    assert site.emulator.stats.token_refreshes == 2


async def test_without_rotation_a_refresh_token_works_again(open_site: OpenSite) -> None:
    site = await open_site(products=1, rotate_refresh=False, login=False)
    _, first = await site.token(**LOGIN)
    form = {"client_id": "mirror-client", "grant_type": "refresh_token"}
    for _ in range(2):
        assert (await site.token(**form, refresh_token=first["refresh_token"]))[0] == 200


async def test_a_site_may_give_no_refresh_token(open_site: OpenSite) -> None:
    site = await open_site(products=1, issue_refresh=False, login=False)
    _, body = await site.token(**LOGIN)
    assert "refresh_token" not in body


async def test_tokens_expire_by_the_clock(open_site: OpenSite) -> None:
    site = await open_site(products=1, token_life=10.0, refresh_life=50.0)
    _, body = await site.login()
    site.clock.now += 9.9
    assert (await site.page())[0] == 200
    site.clock.now += 0.2
    assert (await site.page())[0] == 401
    site.clock.now += 50.0
    status, answer = await site.token(
        client_id="mirror-client", grant_type="refresh_token", refresh_token=body["refresh_token"]
    )
    assert (status, answer["error_description"]) == (400, "Token is not active")


async def test_wrong_passwords_lock_the_account(open_site: OpenSite) -> None:
    site = await open_site(products=1, max_wrong_passwords=2, login=False)
    assert (await site.login("no"))[0] == 401
    assert (await site.login())[0] == 200
    for _ in range(2):
        assert (await site.login("no"))[0] == 401
    assert (await site.login())[0] == 401
    assert site.emulator.stats.wrong_passwords == 4


async def test_revoked_tokens_are_refused_and_a_refresh_heals(open_site: OpenSite) -> None:
    site = await open_site(products=1)
    _, body = await site.login()
    site.emulator.revoke_tokens()
    assert (await site.page())[0] == 401
    form = {"client_id": "mirror-client", "grant_type": "refresh_token"}
    assert (await site.token(**form, refresh_token=body["refresh_token"]))[0] == 200
    _, body = await site.login()
    site.emulator.revoke_tokens(refresh=True)
    assert (await site.token(**form, refresh_token=body["refresh_token"]))[0] == 400


async def test_parallel_token_requests_are_seen(open_site: OpenSite) -> None:
    site = await open_site(products=1, token_delay=0.05, login=False)
    await asyncio.gather(*(site.token(**LOGIN) for _ in range(3)))
    assert site.emulator.stats.tokens_in_flight_peak == 3
    site.emulator.stats.reset()
    for _ in range(3):
        await site.token(**LOGIN)
    assert site.emulator.stats.tokens_in_flight_peak == 1


async def test_without_a_token_401_with_a_challenge(open_site: OpenSite) -> None:
    site = await open_site(products=1, login=False)
    product = site.emulator.catalogue.products[0]
    for url in (site.url(), site.url(f"({product.id})"), site.url(f"({product.id})/$value")):
        got = await site.get(url)
        assert got.status == 401
        assert got.headers["WWW-Authenticate"] == 'Bearer realm="mirror"'
        got = await site.get(url, Authorization="Bearer stale")
        assert got.status == 401
        assert 'error="invalid_token"' in got.headers["WWW-Authenticate"]


async def test_an_open_catalogue_still_guards_the_bytes(open_site: OpenSite) -> None:
    site = await open_site(products=1, catalogue_auth=False, login=False)
    assert (await site.page())[0] == 200
    assert (await site.get(site.emulator.catalogue.products[0].id)).status == 401


async def test_a_session_ends_by_a_log_out(open_site: OpenSite) -> None:
    site = await open_site(products=1, login=False, max_sessions=1)
    _, first = await site.token(**LOGIN)
    assert site.emulator.sessions == 1
    full = (400, {"error": "invalid_grant", "error_description": "There are too many sessions"})
    assert await site.token(**LOGIN) == full
    url = site.emulator.token_url.removesuffix("token") + "logout"
    form = {"client_id": "mirror-client", "refresh_token": first["refresh_token"]}
    for status in (204, 400):
        async with site.session.post(url, data=form) as answer:
            assert answer.status == status
    assert (site.emulator.sessions, site.emulator.stats.logouts) == (0, 1)
    assert (await site.token(**LOGIN))[0] == 200
