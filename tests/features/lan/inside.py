"""Stories in a home of network namespaces. Run by test_network.py as

unshare -Urnm python -m tests.features.lan.inside STORY
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from proxy.net.tasks import spawn
from tests.features.lan.home import (
    ELSEWHERE,
    HARDWARE,
    NEIGHBOUR,
    OURS,
    PHONE,
    PUBLIC_OURS,
    RELAY,
    ROUTER,
    SITE,
    STRANGER,
    Home,
    forge,
    ip,
)
from tests.support.client import fetch
from tests.support.waiting import until_read

FAR = "45.33.32.99"
"""A public address where nothing is."""

MOVED = "192.168.7.23"

Story = Callable[[], Coroutine[Any, Any, None]]

STORIES: dict[str, Story] = {}


def story(tell: Story) -> Story:
    STORIES[tell.__name__] = tell
    return tell


PRIVATE = ("inside.example", "here.example", "loop.example", "mapped.example", "relay.example")
"""Names that resolve to places where no guest may go."""

GET = b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n"


def promote_secondaries() -> None:
    """Lets an interface keep its other addresses when its first one goes."""
    Path("/proc/sys/net/ipv4/conf/wlan/promote_secondaries").write_text("1")


async def open_tunnel(home: Home, of: str, via: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a tunnel to the site, over which one answer has come."""
    reader, writer = await home.spaces[of].open_connection(*via)
    writer.write(f"CONNECT {SITE}:80 HTTP/1.1\r\nHost: {SITE}:80\r\n\r\n".encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n")
    await reader.readexactly(len(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsite"))
    return reader, writer


@story
async def a_device_is_let_in_and_held_by_both_addresses() -> None:
    async with Home() as home:
        via = await home.turn_on()
        assert via[0] == OURS
        visit = spawn(home.fetch("phone", "http://site.example/", via, 60), name="a device")
        (device,) = await home.waiting()
        assert (device["address"], device["hardware"]) == (PHONE, HARDWARE["phone"])
        assert home.reached["site"] == 0
        status = (await home.byway.command("status")).stdout
        assert PHONE in status
        assert "waits" in status
        await home.byway.command("lan", "allow", PHONE)
        assert (await visit).body == b"site"
        (guest,) = (await home.lan())["guests"]
        assert (guest["address"], guest["visits"]) == (PHONE, 1)
        status = (await home.byway.command("status")).stdout
        assert PHONE in status
        assert "allowed" in status

        # A stranger is refused by the user, and gets no byte.
        refused = spawn(home.status_of("stranger", "http://site.example/", via, 60), name="a device")
        await home.waiting()
        await home.byway.command("lan", "deny", STRANGER)
        assert await refused == 0
        assert await home.status_of("stranger", "http://site.example/", via) == 0
        assert (await home.lan())["waiting"] == []

        # The stranger takes the address of the phone: the phone's tunnel ends, and the user is asked anew.
        reader, writer = await open_tunnel(home, "phone", via)
        stranger, phone = home.spaces["stranger"], home.spaces["phone"]
        ip(f"address del {PHONE}/24 dev eth", phone)
        ip(f"address del {STRANGER}/24 dev eth", stranger)
        ip(f"address add {PHONE}/24 dev eth", stranger)
        ip("neigh flush dev eth", stranger)  # so that it asks for us, and is heard with its new address
        taken = spawn(home.status_of("stranger", "http://site.example/", via, 60), name="a device")
        (device,) = await home.waiting()
        assert (device["address"], device["hardware"]) == (PHONE, HARDWARE["stranger"])
        assert (await home.lan())["guests"] == []
        assert home.reached["site"] == 2
        ip(f"address add {PHONE}/24 dev eth", phone)  # to hear of the end of its tunnel
        ip(f"address del {PHONE}/24 dev eth", stranger)
        ip(f"address add {STRANGER}/24 dev eth", stranger)
        writer.write(b"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n")
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert home.reached["site"] == 2
        taken.cancel()

        # The phone comes back with another address.
        await home.byway.command("lan", "deny", PHONE)
        ip(f"address del {PHONE}/24 dev eth", phone)
        ip(f"address add {MOVED}/24 dev eth", phone)
        ip("neigh flush dev eth", phone)
        moved = spawn(home.fetch("phone", "http://site.example/", via, 60), name="a device")
        (device,) = await home.waiting()
        assert (device["address"], device["hardware"]) == (MOVED, HARDWARE["phone"])
        await home.byway.command("lan", "allow", MOVED)
        assert (await moved).body == b"site"
        await home.byway.command("lan", "remove", MOVED)
        assert (await home.lan())["guests"] == []


@story
async def a_forged_answer_of_arp_ends_the_admission() -> None:
    async with Home() as home:
        via = await home.turn_on(PHONE)
        reader, _writer = await open_tunnel(home, "phone", via)
        forge(home.spaces["stranger"], PHONE, HARDWARE["stranger"])
        async with asyncio.timeout(60):
            while (await home.lan())["guests"]:
                forge(home.spaces["stranger"], PHONE, HARDWARE["stranger"])  # the kernel takes one a second
                await asyncio.sleep(0.1)
            ip("neigh flush dev wlan")  # so that the phone hears of the end of its tunnel
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert home.reached["site"] == 1


@story
async def rules_hold_for_guests_and_the_log_has_counts_alone() -> None:
    rules = (
        "DOMAIN,blocked.example,BLOCK\nPROCESS-NAME,python3,BLOCK\nDOMAIN,far.example,RELAY:vps\n"
        f"IP-CIDR,{FAR}/32,RELAY:vps\n"
    )
    relay = f'[log]\nhosts = "all"\n[[relay]]\nname = "vps"\nurl = "socks5h://{RELAY}:1080"\n'
    async with Home(config=relay, rules=rules) as home:
        via = await home.turn_on(PHONE)
        assert await home.status_of("phone", "http://blocked.example/", via) == 403
        assert (await home.fetch("phone", "http://site.example/", via)).body == b"site"
        assert home.reached["relay"] == 0
        refused = await home.fetch("phone", "http://far.example/", via)
        assert (refused.status, home.reached["relay"]) == (403, 0)  # [dns] servers are off: its name is not sent
        for hidden in (b"vps", RELAY.encode(), b"rule"):
            assert hidden not in refused.body, refused.body
        await home.status_of("phone", f"http://{FAR}/", via)
        assert home.reached["relay"] == 1  # as the rule says, an address
        (guest,) = (await home.lan())["guests"]
        assert guest["visits"] == 3, guest
        logged = await home.byway.ask("/v1/log")
        assert logged["rows"] == [], logged

        async def is_counted() -> bool:  # once the connection has ended
            routes = {route["route"]: route for route in (await home.byway.ask("/v1/status"))["routes"]}
            return "direct" in routes and routes["direct"]["delivered"] == 1

        await until_read(is_counted)
        assert (await home.byway.ask("/v1/connections/open"))["connections"] == []
        state = b"".join(path.read_bytes() for path in home.byway.state.rglob("*") if path.is_file())
        for name in (b"site.example", b"blocked.example", b"far.example", PHONE.encode()):
            assert name not in state, name


@story
async def one_page_is_served_over_the_network() -> None:
    async with Home() as home:
        via = await home.turn_on(PHONE)
        address = f"{via[0]}:{via[1]}"
        for language, word in (("en", "Server"), ("ru,en;q=0.5", "Сервер"), ("fa", "سرور")):
            page = await fetch(
                f"http://{address}/", headers=[("Accept-Language", language)], dial=home.spaces["phone"].open_connection
            )
            text = page.body.decode()
            assert page.status == 200
            assert OURS in text
            assert str(via[1]) in text
            assert word in text, language
            assert not any(tag in text for tag in ("<form", "<script", "home", "status", "byway"))
        asked = {
            "/sign-in": 404,
            "/v1/status": 404,
            "/setup": 404,
            "//": 404,
        }
        for path, status in asked.items():
            answer = await fetch(f"http://{address}{path}", dial=home.spaces["phone"].open_connection)
            assert (answer.status, answer.body) == (status, b""), path
        for url in (f"http://{address}/", "http://byway.internal/", f"http://127.0.0.1:{home.byway.port}/"):
            answer = await home.fetch("phone", url, via)
            assert answer.status in (403, 421), url


@story
async def it_ends_by_itself() -> None:
    async with Home() as home:

        async def ended(why: str) -> None:
            async def is_off() -> bool:
                return not (await home.lan())["is_on"]

            await until_read(is_off)
            answer = await home.lan()
            assert why in answer["ended"], answer
            try:
                await home.fetch("phone", "http://site.example/", via)
            except OSError:
                return
            raise AssertionError("it still listens")

        via = await home.turn_on(PHONE)
        reader, _ = await open_tunnel(home, "phone", via)
        await home.byway.command("lan", "off")
        await ended("You have turned it off")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""

        via = await home.turn_on(PHONE)
        promote_secondaries()
        ip(f"address add {MOVED}/24 dev wlan")
        ip(f"address del {OURS}/24 dev wlan")
        await ended("wlan has lost its address")
        ip(f"address del {MOVED}/24 dev wlan")
        ip(f"address add {OURS}/24 dev wlan")
        ip(f"route replace default via {ROUTER} dev wlan")
        await home.in_use()

        via = await home.turn_on(PHONE)
        ip(f"route replace default via {NEIGHBOUR} dev other")
        await ended("has left the network home")
        await home.change("PUT", "/v1/lan", {"for_s": 60}, status=400)
        ip(f"route replace default via {ROUTER} dev wlan")
        await home.in_use()

        via = await home.turn_on(PHONE)
        home.byway.config.write_text(home.byway.config.read_text().replace('only_on = ["home"]', "only_on = []"))
        home.byway.reload()
        await ended("does not name the network home")
        refused = await home.change("PUT", "/v1/lan", {"for_s": 60}, status=400)
        assert "only_on" in refused["error"]
        home.configure()
        via = await home.turn_on(PHONE)
        await home.byway.stop()
        await home.byway.start()  # nothing of it is stored
        await ended("")


# -- attacks -----------------------------------------------------------------------------------------------------------

PROTOCOLS = ("http", "connect", "socks5", "socks4a")
AT_ONCE = 12

FORBIDDEN = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::1]", "[::]"),
    *("[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[fe80::1]", "[fd00::1]", "100.64.0.1", "169.254.169.254"),
    *(
        OURS,
        ELSEWHERE,
        PUBLIC_OURS,
        f"[::ffff:{PUBLIC_OURS}]",
        ROUTER,
        f"[::ffff:{ROUTER}]",
        NEIGHBOUR,
        STRANGER,
        PHONE,
    ),
    *(RELAY, f"[::ffff:{RELAY}]", "byway.internal", "printer.local", "router", *PRIVATE),
)
"""Places where no guest may go; servers listen at most of them."""


async def ask_for(home: Home, of: str, via: tuple[str, int], protocol: str, host: str, port: int = 80) -> bytes:
    """Asks for a page in one protocol, from a space. Returns all bytes that came back."""
    get, name = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode(), host.strip("[]").encode()
    first = {
        "http": f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode(),
        "connect": f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode() + get,
        "socks5": b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big") + get,
        "socks4a": b"\x04\x01" + port.to_bytes(2, "big") + b"\x00\x00\x00\x01x\x00" + name + b"\x00" + get,
        "origin": get,
    }[protocol]
    answer = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(20):
            reader, writer = await (home.here if of == "here" else home.spaces[of]).open_connection(*via)
            try:
                writer.write(first)
                while data := await reader.read(65536):
                    answer += data
                    if b"Content-Length: 4" in data:  # the site's: it keeps the connection
                        break
            finally:
                writer.close()
    return answer


async def all_of(tries: list[Coroutine[Any, Any, bytes]]) -> list[bytes]:
    """Makes tries, AT_ONCE at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(attempt: Coroutine[Any, Any, bytes]) -> bytes:
        async with slots:
            return await attempt

    return await asyncio.gather(*map(one, tries))


@story
async def none_of_two_hundred_tries_reaches_what_is_ours() -> None:
    relay = f'[[relay]]\nname = "vps"\nurl = "socks5h://{RELAY}:1080"\n'
    async with Home(config=relay, rules=f"IP-CIDR,{FAR}/32,RELAY:vps\nMATCH,AUTO\n") as home:
        via = await home.turn_on(PHONE)
        byway = home.byway.port
        ours = {name: count for name, count in home.reached.items() if name != "site"}
        assert not ours

        # The control: a guest reaches the site in each protocol.
        for protocol in PROTOCOLS:
            assert b"site" in await ask_for(home, "phone", via, protocol, "site.example"), protocol
        assert home.reached["site"] == len(PROTOCOLS)

        # A guest.
        places = [(host, 80) for host in FORBIDDEN]
        places += [(host, port) for host in ("127.0.0.1", OURS, "localhost") for port in (byway, via[1])]
        places += [(RELAY, 1080), ("relay.example", 1080), ("127.0.0.1", 22)]
        tries = [ask_for(home, "phone", via, protocol, host, port) for host, port in places for protocol in PROTOCOLS]
        tries += [
            ask_for(home, "phone", via, "origin", host, port)
            for host, port in (("127.0.0.1", byway), ("localhost", byway), ("byway.internal", 80), (OURS, byway))
        ]
        answers = await all_of(tries)
        count = len(tries)

        # A stranger, who waits until the user says no; then one who was told no.
        waits = [
            spawn(ask_for(home, "stranger", via, protocol, host), name="a stranger")
            for host in ("site.example", "127.0.0.1", RELAY)
            for protocol in PROTOCOLS
        ]
        await home.waiting()
        await home.change("POST", "/v1/lan/deny", {"address": STRANGER})
        strangers = [*await asyncio.gather(*waits)]
        strangers += await all_of(
            [
                ask_for(home, "stranger", via, protocol, host)
                for host in ("site.example", "byway.internal", "127.0.0.1", OURS, ROUTER, RELAY)
                for protocol in (*PROTOCOLS, "origin")
            ]
        )

        # One on another link, by each of our addresses; and one without the network, as a second user of this computer.
        for of in ("neighbour", "here"):
            strangers += await all_of(
                [
                    ask_for(home, of, (address, via[1]), protocol, "site.example")
                    for address in (OURS, ELSEWHERE, "127.0.0.1")
                    for protocol in (*PROTOCOLS, "origin")
                ]
            )
        # From the network to Byway's own port.
        strangers += await all_of([ask_for(home, "phone", (OURS, byway), each, "site.example") for each in PROTOCOLS])

        # The stranger has the address of the guest, and says so by forged answers.
        phone, stranger = home.spaces["phone"], home.spaces["stranger"]
        ip("link set eth down", phone)
        ip(f"address del {STRANGER}/24 dev eth", stranger)
        ip(f"address add {PHONE}/24 dev eth", stranger)
        ip("neigh flush dev eth", stranger)
        forge(stranger, PHONE, HARDWARE["stranger"])
        forged = [
            spawn(ask_for(home, "stranger", via, protocol, host), name="a forger")
            for host in ("site.example", "127.0.0.1", RELAY)
            for protocol in PROTOCOLS
        ]
        (device,) = await home.waiting()
        assert device["hardware"] == HARDWARE["stranger"]
        await home.change("POST", "/v1/lan/deny", {"address": PHONE})
        strangers += await asyncio.gather(*forged)

        count += len(strangers)
        assert count >= 200, count
        assert [answer for answer in strangers if answer] == []
        granted = [answer for answer in answers if b"HTTP/1.1 200" in answer or answer.startswith(b"\x05\x00\x05\x00")]
        assert granted == []
        assert not any(b"byway" in answer.lower() or b"relay" in answer.lower() for answer in answers), answers
        assert {name: times for name, times in home.reached.items() if name != "site"} == {}
        assert home.reached["site"] == len(PROTOCOLS)
        print(f"{count} tries, of which 0 reached anything")


if __name__ == "__main__":
    asyncio.run(STORIES[sys.argv[1]]())
