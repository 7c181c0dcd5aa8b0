"""The country as a whole: the view of a person in it when nobody interferes, and when the provider's boxes do.

The visitor has no Byway here, so the effects in these tests come from the lab alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, Country, Site
from tests.lab.name_servers import Addresses
from tests.lab.sockets import connect
from tests.lab.visitor import Visit

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]


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
        async with asyncio.timeout(30):
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
    assert country.router.events.connections(site.address, 443) == 1, "what is sent to nobody is seen"


async def test_sites_of_the_wide_provider_answer_and_share_a_16_with_each_other_alone(country: Country) -> None:
    sites, other = [country.add_site(f"wide{n}.test", wide=True) for n in range(5)], country.add_site("blog.test")
    wide = ip_network(places.WIDE)
    assert [ip_address(site.address) in wide for site in (*sites, other)] == [True] * 5 + [False]
    assert len({site.address.rpartition(".")[0] for site in sites}) == 5
    for site in sites:
        assert (await visit(country, site)).genuine


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


async def test_rules_that_no_row_of_the_table_shows_to_be_in_force(country: Country) -> None:
    """A row of an innocent trouble is kept as well when its rule does nothing."""
    site, other, loop = country.add_site("blog.test"), country.add_site("news.test"), asyncio.get_running_loop()
    country.rules.set([rules.RttRise(0.1)])
    seen = await visit(country, site, secure=False)
    assert seen.elapsed_s >= 0.39, "two times there and back; each step may end half a millisecond early"
    country.rules.set([rules.Outage(0, 0.3)])
    began = loop.time()
    assert (await visit(country, site)).genuine, "lost packets are sent again"
    assert loop.time() - began >= 0.3
    country.rules.set([rules.AllowList("news.test", addresses=[places.PROVIDER])])
    assert (await visit(country, other)).genuine
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(visit(country, site), 0.5)
    country.rules.set([*rules.DohBlock(addresses=[places.DOH]), rules.UdpDrop()])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connect(country.client.socket, (places.DOH, 443)), 0.5)
    with country.net.create_udp((site.address, 443)) as there, country.client.socket(2, 2) as here:
        there.setblocking(False)
        here.sendto(b"quic", (site.address, 443))
        await country.caught_up()
        with pytest.raises(BlockingIOError):
            there.recv(100)
        country.rules.clear()
        here.sendto(b"quic", (site.address, 443))
        assert await asyncio.wait_for(loop.sock_recv(there, 100), 10) == b"quic"


async def test_a_share_of_connections_is_struck_the_same_ones_every_time(country: Country) -> None:
    site = country.add_site("blog.test")

    async def failures(rule: rules.Rule) -> list[int]:
        await country.caught_up()  # the end of an earlier visit would count as another
        country.rules.set([rule])
        return [number for number in range(30) if not (await visit(country, site)).genuine]

    first = await failures(rules.SniReset(site.name, share=0.3, seed=1))
    assert 3 <= len(first) <= 16
    assert await failures(rules.SniReset(site.name, share=0.3, seed=1)) == first
    assert await failures(rules.SniReset(site.name, share=0.3, seed=2)) != first


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
    site, other, wide = (
        country.add_site("blog.test"),
        country.add_site("by-relay.test"),
        country.add_site("wide.test", wide=True),
    )
    config, texts = country.config(detect=NO_HEDGE), "DOMAIN-SUFFIX,by-relay.test,RELAY\nMATCH,AUTO\n"
    async with country.byway(tmp_path / "byway", config=config, rules=texts) as byway:
        visitor = country.visitor(byway)
        assert (await visitor.visit(site.url())).genuine
        assert (await visitor.visit(other.url())).genuine
        assert (await visitor.visit(wide.url())).genuine
        assert (await byway.belief(site.name))["state"] == "works"
    assert country.origins.peers(site.name) == country.origins.peers(wide.name) == [places.CLIENT]
    assert country.origins.peers(other.name) == [places.SOCKS_RELAY]
    assert "by-relay.test" not in country.provider_resolver.names()
