"""The country as a whole: the view of a person in it when nobody interferes, and when the provider's boxes do.

The visitor has no Byway here, so the effects in these tests come from the lab alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import places, rules
from tests.lab.authorities import STATE_ROOT
from tests.lab.country import Country, Site
from tests.lab.name_servers import Addresses
from tests.lab.sockets import connect
from tests.lab.visitor import Visit

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]


async def visit(country: Country, site: Site, path: str = "/", *, secure: bool = True) -> Visit:
    """Makes a visit direct, at the site's address and by its name."""
    visitor = replace(country.visitor(), addresses={site.name: site.address})
    return await visitor.visit(site.url(path, secure=secure))


async def ask(country: Country, name: str, resolver: str = places.PROVIDER_RESOLVER) -> set[str]:
    """Returns the addresses in a resolver's answer to the person."""
    import dns.asyncquery
    import dns.message

    query = dns.message.make_query(name, "A")
    sock = country.client.socket(2, 2)
    sock.setblocking(False)
    with sock:
        await asyncio.get_running_loop().sock_connect(sock, (resolver, 53))
        await asyncio.get_running_loop().sock_sendall(sock, query.to_wire())
        async with asyncio.timeout(5):
            answer = dns.message.from_wire(await asyncio.get_running_loop().sock_recv(sock, 4096))
    return {record.to_text() for found in answer.answer for record in found}


async def test_where_nobody_interferes_names_resolve_and_sites_answer(country: Country) -> None:
    site = country.add_site("blog.test", six=True)
    assert await ask(country, "www.blog.test") == {site.address}
    assert await ask(country, "blog.test", places.PUBLIC_RESOLVER) == {site.address}
    for secure in (True, False):
        seen = await visit(country, site, secure=secure)
        assert seen.genuine, seen
        assert places.CLIENT.encode() in seen.body
    assert (await visit(country, site, "/big")).genuine


async def test_a_site_that_is_nowhere_answers_nobody(country: Country) -> None:
    site = country.add_site("down.test", nobody=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await connect(country.client.socket, (site.address, 443))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await connect(country.relay_space.socket, (site.address, 443))


@pytest.mark.parametrize(("whose", "chain"), [("known_state", 3), ("state", 1)])
async def test_who_reads_shows_his_own_certificate_and_the_sites_page(country: Country, whose: str, chain: int) -> None:
    site = country.add_site("blog.test")
    country.readers[site.name] = authority = getattr(country, whose)
    country.rules.set([rules.Intercept(site.address)])
    refused = await visit(country, site)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.error
    visitor = replace(country.visitor(), addresses={site.name: site.address}, trust=authority.client())
    seen = await visitor.visit(site.url())
    assert seen.genuine, seen
    assert places.CLIENT.encode() not in seen.body  # the provider's box came in his place
    assert len(await presented(country, site)) == chain


async def presented(country: Country, site: Site) -> list[bytes]:
    """Returns the certificates that are presented for a site, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await connect(country.client.socket, (site.address, 443))
    await writer.start_tls(context, server_hostname=site.name)
    chain = writer.get_extra_info("ssl_object")._sslobj.get_unverified_chain()
    writer.transport.abort()
    return [certificate.public_bytes(2) for certificate in chain]


async def test_a_root_that_is_known_is_shown_as_it_is(country: Country) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    site = country.add_site("blog.test")
    country.readers[""] = country.known_state
    country.rules.set([rules.Intercept()])
    assert (await presented(country, site))[-1] == STATE_ROOT.public_bytes(Encoding.DER)


async def test_a_middlebox_that_ends_tcp_carries_everything(country: Country) -> None:
    site = country.add_site("blog.test")
    country.rules.set([rules.Terminator(ports=(80, 443))])
    for secure in (True, False):
        assert (await visit(country, site, secure=secure)).genuine
    assert len((await visit(country, site, "/big")).body) > 256 * 1024
    assert (site.name, site.address) in country.middlebox.seen


async def test_a_portal_answers_for_everybody(country: Country) -> None:
    site = country.add_site("blog.test")
    country.provider.everything = Addresses((places.PORTAL,))
    country.middlebox.page = country.portal
    country.rules.set([rules.Intercept(ports=())])
    assert await ask(country, "blog.test") == {places.PORTAL}
    assert (await visit(country, site, secure=False)).status == 302
    assert "CERTIFICATE" in (await visit(country, site)).error


async def test_a_computer_is_carried_to_another_network_and_back(country: Country) -> None:
    site = country.add_site("blog.test")
    country.change_network()
    assert places.SECOND_CLIENT.encode() in (await visit(country, site)).body
    country.come_home()
    assert places.CLIENT.encode() in (await visit(country, site)).body


async def test_what_was_sent_is_noted_once_it_has_crossed_the_link_and_can_be_waited_for(country: Country) -> None:
    events = country.router.events
    with country.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"said before", (places.PUBLIC_RESOLVER, 7))
        before = events.clock()
        assert not events.packets(places.PUBLIC_RESOLVER, 7)
        since = await country.caught_up()
        assert [seen.at > before for seen in events.packets(places.PUBLIC_RESOLVER, 7)] == [True], "noted late"
        assert not events.packets(places.PUBLIC_RESOLVER, 7, since=since)
        sock.sendto(b"said later", (places.PUBLIC_RESOLVER, 7))
        await country.caught_up()
        assert len(events.packets(places.PUBLIC_RESOLVER, 7, since=since)) == 1


async def test_a_byway_in_the_country_opens_pages_and_its_relay_stands_abroad(country: Country, tmp_path: Path) -> None:
    site, other = country.add_site("blog.test"), country.add_site("by-relay.test")
    async with country.byway(tmp_path / "byway", rules="DOMAIN-SUFFIX,by-relay.test,RELAY\nMATCH,AUTO\n") as byway:
        visitor = country.visitor(byway)
        assert (await visitor.visit(site.url())).genuine
        assert (await visitor.visit(other.url())).genuine
        assert (await byway.belief(site.name))["state"] == "works"
    assert country.origins.peers(site.name) == [places.CLIENT]
    assert country.origins.peers(other.name) == [places.SOCKS_RELAY]
    assert "by-relay.test" not in country.provider_resolver.names()


@pytest.mark.parametrize("server", [Country.doh_url, Country.http2_url])
async def test_a_byway_asks_by_http2_a_server_that_speaks_http1_too_and_one_that_does_not(
    country: Country, tmp_path: Path, server: str
) -> None:
    site = country.add_site("blog.test")
    config = country.config(dns='secure = "always"', servers=[server])
    async with country.byway(tmp_path / "byway", config=config) as byway:
        assert (await country.visitor(byway).visit(site.url())).genuine
    asked = [question for question in country.resolver.asked if question.name == site.name]
    assert {(question.over, question.asker) for question in asked} == {("h2", places.CLIENT)}
    assert country.provider_resolver.names() == set()


async def test_a_failure_beside_a_byway_says_what_was_logged_and_how_late_the_lab_was(
    country: Country, tmp_path: Path
) -> None:
    site = country.add_site("blog.test")

    async def fail() -> None:
        async with country.byway(tmp_path / "byway") as byway:
            assert (await country.visitor(byway).visit(site.url())).genuine
            raise AssertionError("on purpose")

    with pytest.raises(AssertionError, match="on purpose") as failure:
        await fail()
    said = "\n".join(failure.value.__notes__)
    assert "blog.test:443 by direct: direct done " in said
    assert "the lab's own loop was at most " in said
