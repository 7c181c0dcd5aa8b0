"""Keys of our own making, in the forms that clients write: good ones with their value, others with the sentence. All
hosts are of documentation, all secrets invented."""

from __future__ import annotations

import base64
import json

from proxy.model import Destination
from proxy.wire.keys.fields import Fault
from proxy.wire.keys.values import (
    Amnezia,
    AnyTls,
    Grpc,
    Http2,
    HttpHeader,
    Hysteria2,
    Key,
    Obfs,
    OutlineAddress,
    Reality,
    Shadowsocks,
    Ssh,
    Tls,
    Trojan,
    Tuic,
    V2rayPlugin,
    Vless,
    Vmess,
    WebSocket,
    WireGuard,
    Xhttp,
)

UUID = "b831b0c4-1111-4222-8333-0123456789ab"
SECRET = "hunter2hunter2"
X25519 = bytes(range(32))
PBK = base64.urlsafe_b64encode(X25519).decode().rstrip("=")
WG_KEY = base64.b64encode(X25519).decode()
WG_PEER = base64.b64encode(bytes(range(32, 64))).decode()
PSK_16 = base64.b64encode(bytes(range(16))).decode()
PSK_32 = base64.b64encode(bytes(range(100, 132))).decode()
PIN = bytes(range(64, 96))
ECH_BYTES = b"\x00\x0a\xfe\x0d" + bytes(8)
ECH = base64.b64encode(ECH_BYTES).decode()
AT = Destination("relay.example", 443)
SERVER = f"{UUID}@relay.example:443"
MLKEM = f"mlkem768x25519plus.native.0rtt.{PBK}"
REALITY = Reality(X25519, bytes.fromhex("0123abcd"))
PLAIN_TLS = Tls()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def b64_url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def vmess_link(**fields: object) -> str:
    given = {"v": "2", "ps": "One", "add": "relay.example", "port": "443", "id": UUID, "aid": "0", "net": "tcp"}
    given |= fields  # type: ignore[arg-type]  # a field may be of any type of JSON
    return "vmess://" + b64(json.dumps(given))


def vless(name: str = "", **fields: object) -> Vless:
    given: dict[str, object] = {"encryption": "", "uses_vision": False, "tls": None, "transport": None} | fields
    return Vless(AT, name, UUID, **given)  # type: ignore[arg-type]


def vmess(name: str = "One", **fields: object) -> Vmess:
    given: dict[str, object] = {"alter_id": 0, "cipher": "auto", "tls": None, "transport": None} | fields
    return Vmess(AT, name, UUID, **given)  # type: ignore[arg-type]


def ss(cipher: str, password: str = SECRET, *, name: str = "", plugin: Obfs | V2rayPlugin | None = None) -> Shadowsocks:
    return Shadowsocks(Destination("relay.example", 8388), name, cipher, password, plugin)


GOOD: list[tuple[str, Key]] = [
    # VLESS
    (f"vless://{SERVER}", vless()),
    (f"vless://{SERVER}?encryption=none&security=none&type=tcp&headerType=none#My%20server", vless("My server")),
    (f"VLESS://{UUID.upper()}@Relay.Example.:443/?type=raw#a\tb", vless("a b")),
    (
        f"vless://{SERVER}?security=reality&encryption=none&pbk={PBK}&sid=0123abcd&fp=chrome&sni=www.example.com"
        "&spx=%2Fx&flow=xtls-rprx-vision&type=tcp&headerType=none#Berlin%20%F0%9F%87%A9%F0%9F%87%AA",
        vless("Berlin 🇩🇪", uses_vision=True, tls=Tls("www.example.com", client="chrome", reality=REALITY)),
    ),
    (f"vless://{SERVER}?security=reality&pbk={PBK}=&sid=",
     vless(tls=Tls(reality=Reality(X25519, b"")))),
    (f"vless://{SERVER}?flow=xtls-rprx-vision-udp443&security=tls", vless(uses_vision=True, tls=PLAIN_TLS)),
    (f"vless://{SERVER}?security=tls&alpn=h2%2Chttp%2F1.1&fp=firefox&insecure=0&allowInsecure=0",
     vless(tls=Tls(alpn=("h2", "http/1.1"), client="firefox"))),
    (f"vless://{SERVER}?security=tls&allowInsecure=1&pcs={PIN.hex()}", vless(tls=Tls(pin=PIN))),
    (f"vless://{SERVER}?security=tls&ech={ECH.replace('=', '%3D')}", vless(tls=Tls(ech=ECH_BYTES))),
    (f"vless://{SERVER}?encryption={MLKEM}", vless(encryption=MLKEM)),
    (
        f"vless://{SERVER}?security=tls&type=ws&host=cdn.example.com&path=%2Fws%3Fed%3D2048&sni=cdn.example.com",
        vless(
            tls=Tls("cdn.example.com"),
            transport=WebSocket("cdn.example.com", "/ws", (), 2048, "Sec-WebSocket-Protocol"),
        ),
    ),
    (f"vless://{SERVER}?type=ws&path=ws&ed=512&eh=X-Early",
     vless(transport=WebSocket("", "/ws", (), 512, "X-Early"))),
    (f"vless://{SERVER}?type=ws&path=/?a=1%26ed=100%26b=2",
     vless(transport=WebSocket("", "/?a=1&b=2", (), 100, "Sec-WebSocket-Protocol"))),
    (f"vless://{SERVER}?type=httpupgrade&host=cdn.example.com&path=%2Fup",
     vless(transport=WebSocket("cdn.example.com", "/up", is_upgrade=True))),
    (f"vless://{SERVER}?security=tls&sni=a.example.com&type=grpc&serviceName=tun&mode=multi&authority=a.example.com",
     vless(tls=Tls("a.example.com"), transport=Grpc("tun"))),
    (f"vless://{SERVER}?security=tls&type=http&host=a.example.com,b.example.com&path=%2Fh",
     vless(tls=PLAIN_TLS, transport=Http2(("a.example.com", "b.example.com"), "/h"))),
    (f"vless://{SERVER}?type=tcp&headerType=http&host=a.example.com&path=%2F",
     vless(transport=HttpHeader(("a.example.com",), ("/",), "GET"))),
    (f"vless://{SERVER}?type=xhttp&path=%2Fx&mode=stream-one&host=a.example.com",
     vless(transport=Xhttp("a.example.com", "/x", "stream-one"))),
    (
        f"vless://{SERVER}?type=splithttp&extra=%7B%22xPaddingBytes%22%3A+%22100-1000%22%2C+%22noGRPCHeader%22%3Atrue%2C"
        "%22scMaxEachPostBytes%22%3A1000000%2C%22xmux%22%3A%7B%22maxConcurrency%22%3A%2216-32%22%7D%7D",
        vless(transport=Xhttp("", "/", "auto", (), "100-1000", has_grpc_header=False, max_post_bytes="1000000")),
    ),
    (f"vless://{UUID}@[2001:db8::1]:8443?security=none",
     Vless(Destination("2001:db8::1", 8443), "", UUID, "", uses_vision=False, tls=None, transport=None)),
    (f"vless://{UUID}@192.0.2.7:80", Vless(Destination("192.0.2.7", 80), "", UUID, "", uses_vision=False, tls=None,
                                           transport=None)),
    (f"vless://{UUID}@bücher.example:443", Vless(Destination("xn--bcher-kva.example", 443), "", UUID, "",
                                                 uses_vision=False, tls=None, transport=None)),
    ("vless://short-user@relay.example:443",
     Vless(AT, "", "short-user", "", uses_vision=False, tls=None, transport=None)),
    # VMess
    (vmess_link(), vmess()),
    (vmess_link(port=443, aid=64, scy="aes-128-gcm"), vmess(alter_id=64, cipher="aes-128-gcm")),
    (vmess_link(tls="tls", sni="a.example.com", alpn="h2,http/1.1", fp="safari", net="ws", host="a.example.com",
                path="/ws", type="none"),
     vmess(tls=Tls("a.example.com", alpn=("h2", "http/1.1"), client="safari"),
           transport=WebSocket("a.example.com", "/ws"))),
    (vmess_link(net="grpc", path="tun", host="", type="gun", tls="tls"), vmess(tls=PLAIN_TLS, transport=Grpc("tun"))),
    (vmess_link(net="h2", path="/h", host="a.example.com", tls="tls"),
     vmess(tls=PLAIN_TLS, transport=Http2(("a.example.com",), "/h"))),
    (vmess_link(type="http", host="a.example.com", path="/a,/b"),
     vmess(transport=HttpHeader(("a.example.com",), ("/a", "/b"), "GET"))),
    (vmess_link(net="httpupgrade", path="/u"), vmess(transport=WebSocket("", "/u", is_upgrade=True))),
    (vmess_link(ps="", verify_cert=True, level=1, host=None), vmess("")),
    (vmess_link().rstrip("=") + "#ignored", vmess()),
    (f"vmess://{SERVER}?encryption=chacha20-poly1305&security=tls&type=ws&path=%2F#Two",
     vmess("Two", cipher="chacha20-poly1305", tls=PLAIN_TLS, transport=WebSocket("", "/"))),
    # Trojan
    (f"trojan://{SECRET}@relay.example:443", Trojan(AT, "", SECRET, PLAIN_TLS, None)),
    ("trojan://a%3Ab%40c%2F@relay.example:443?sni=b.example.com&peer=b.example.com#T",
     Trojan(AT, "T", "a:b@c/", Tls("b.example.com"), None)),
    (f"trojan://{SECRET}@relay.example:443?security=tls&type=ws&path=%2Fws&host=b.example.com&fp=random",
     Trojan(AT, "", SECRET, Tls(client="random"), WebSocket("b.example.com", "/ws"))),
    (f"trojan://{SECRET}@relay.example:443?type=grpc&serviceName=s", Trojan(AT, "", SECRET, PLAIN_TLS, Grpc("s"))),
    (f"trojan://{SECRET}@relay.example:443?security=reality&pbk={PBK}&sid=0123abcd",
     Trojan(AT, "", SECRET, Tls(reality=REALITY), None)),
    # Shadowsocks
    (f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:8388#My%20server", ss("aes-256-gcm", name="My server")),
    (f"ss://{b64_url('chacha20-ietf-poly1305:' + SECRET)}@relay.example:8388/?outline=1",
     ss("chacha20-ietf-poly1305")),
    (f"ss://{b64('aes-128-gcm:' + SECRET).replace('=', '%3D')}@relay.example:8388", ss("aes-128-gcm")),
    ("ss://aes-128-gcm:p%40s%3As@relay.example:8388", ss("aes-128-gcm", "p@s:s")),
    (f"ss://{b64('aes-128-gcm:a@b:c@relay.example:8388')}#Old", ss("aes-128-gcm", "a@b:c", name="Old")),
    (f"ss://{b64_url('chacha20-poly1305:x@relay.example:8388')}", ss("chacha20-ietf-poly1305", "x")),
    (f"ss://2022-blake3-aes-128-gcm:{PSK_16.replace('=', '%3D')}@relay.example:8388",
     ss("2022-blake3-aes-128-gcm", PSK_16)),
    (f"ss://{b64(f'2022-blake3-aes-256-gcm:{PSK_32}:{PSK_32}')}@relay.example:8388",
     ss("2022-blake3-aes-256-gcm", f"{PSK_32}:{PSK_32}")),
    (
        f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:8388/?plugin=obfs-local%3Bobfs%3Dhttp%3B"
        "obfs-host%3Da.example",
        ss("aes-256-gcm", plugin=Obfs("http", "a.example")),
    ),
    (
        f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:8388/?plugin=v2ray-plugin%3Bmode%3Dwebsocket%3Btls%3B"
        "host%3Da.example%3Bpath%3D%2Fws%3Bmux%3D0",
        ss("aes-256-gcm", plugin=V2rayPlugin(WebSocket("a.example", "/ws"), PLAIN_TLS)),
    ),
    (f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:8388?type=tcp&security=&fp=&path=", ss("aes-256-gcm")),
    # Hysteria 2
    (f"hysteria2://{SECRET}@relay.example:443", Hysteria2(AT, "", SECRET, "", PLAIN_TLS)),
    ("hy2://me:pass%20word@relay.example/?sni=a.example.com#H", Hysteria2(AT, "H", "me:pass word", "",
                                                                        Tls("a.example.com"))),
    (
        f"hy2://{SECRET}@relay.example:443?obfs=salamander&obfs-password=x%26y&alpn=h3&up=50&down=100&mport=",
        Hysteria2(AT, "", SECRET, "x&y", Tls(alpn=("h3",))),
    ),
    (f"hysteria2://{SECRET}@relay.example:443/?insecure=1&pinSHA256={PIN.hex(':')}",
     Hysteria2(AT, "", SECRET, "", Tls(pin=PIN))),
    # TUIC
    (f"tuic://{UUID}:{SECRET}@relay.example:443?congestion_control=bbr&alpn=h3&udp_relay_mode=native&sni=a.example.com",
     Tuic(AT, "", UUID, SECRET, "bbr", Tls("a.example.com", alpn=("h3",)))),
    (f"tuic://{UUID}%3A{SECRET}@relay.example:443?disable_sni=1&reduce_rtt=1",
     Tuic(AT, "", UUID, SECRET, "", Tls(sends_sni=False))),
    # AnyTLS
    (f"anytls://{SECRET}@relay.example/?sni=a.example.com#A", AnyTls(AT, "A", SECRET, Tls("a.example.com"))),
    (f"anytls://{SECRET}@relay.example:443?security=tls&fp=chrome&type=tcp&insecure=0",
     AnyTls(AT, "", SECRET, Tls(client="chrome"))),
    # WireGuard and AmneziaWG
    (
        f"wireguard://{WG_KEY.replace('=', '%3D')}@relay.example:443?publickey={WG_PEER.replace('=', '%3D')}"
        "&address=10.0.0.2%2F32%2C2001%3Adb8%3A%3A2%2F128&reserved=1%2C2%2C3&mtu=1280"
        "&dns=192.0.2.53",
        WireGuard(AT, "", X25519, bytes(range(32, 64)), None, ("10.0.0.2/32", "2001:db8::2/128"),
                  ("0.0.0.0/0", "::/0"), b"\1\2\3", 1280, 0, None),
    ),
    (
        f"wg://relay.example:443?publicKey={WG_PEER}&privateKey={WG_KEY}&ip=10.0.0.2&udp=1&keepalive=25&reserved=AQID"
        "&jc=4&jmin=40&jmax=70&s1=10&s2=20&h1=1&h2=5-9&i1=<b%200x00ff>",
        WireGuard(AT, "", X25519, bytes(range(32, 64)), None, ("10.0.0.2/32",), ("0.0.0.0/0", "::/0"), b"\1\2\3", 0, 25,
                  Amnezia((4, 40, 70), (10, 20, 0, 0), ("1", "5-9", "", ""), ("<b 0x00ff>", "", "", "", ""))),
    ),
    # SSH, Outline
    (f"ssh://me:{SECRET}@relay.example#S", Ssh(Destination("relay.example", 22), "S", "me", SECRET, "", "", ())),
    ("ssh://me@relay.example:443?host-key=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA",
     Ssh(AT, "", "me", "", "", "", ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",))),
    ("ssconf://relay.example/a/b?c=d#Out", OutlineAddress(AT, "Out", "/a/b?c=d")),
]  # fmt: skip

UNCHECKED = (
    "the server's certificate would not be checked, so anyone on the way could read all of it; such a key is taken "
    "only with the pin of its certificate (`byway relay add --pin`)"
)
WEAKER = "is not known to Byway, and without it the connection may be weaker"
SECOND = "it names a second server, whose address Byway does not check"
HOPS = "hop ports name further servers, whose addresses Byway does not check"
D, K, N = Fault.DAMAGED, Fault.UNKNOWN, Fault.UNSUPPORTED

REFUSED: list[tuple[str, Fault, str]] = [
    # a field that is not known
    (f"vless://{SERVER}?foo=1", K, f"field foo {WEAKER}"),
    (f"vless://{SERVER}?amp;security=tls", K, f"field (with a name that is not shown) {WEAKER}"),
    (f"vless://{SERVER}?{UUID}", K, f"field (with a name that is not shown) {WEAKER}"),
    (f"trojan://{SECRET}@relay.example:443?wss=", K, f"field wss {WEAKER}"),
    (f"hy2://{SECRET}@relay.example:443?lazy=1", K, f"field lazy {WEAKER}"),
    (f"tuic://{UUID}:x@relay.example:443?zero=1", K, f"field zero {WEAKER}"),
    (f"anytls://{SECRET}@relay.example:443?padding=1", K, f"field padding {WEAKER}"),
    (f"ss://{b64('aes-128-gcm:x')}@relay.example:1?obfs-x=1", K, f"field obfs-x {WEAKER}"),
    (f"ss://{b64('aes-128-gcm:x')}@relay.example:1?plugin=obfs-local%3Bobfs%3Dtls%3Bfast", K,
     f"field plugin.fast {WEAKER}"),
    (vmess_link(secret_field="x"), K, f"field secret_field {WEAKER}"),
    (f"wg://{WG_KEY}@relay.example:1?table=auto", K, f"field table {WEAKER}"),
    # a word that is not known
    (f"vless://{SERVER}?type=carrier", K, "field type has a value that is not known to Byway"),
    (f"vless://{SERVER}?security={SECRET}", K, "field security has a value that is not known to Byway"),
    (f"vless://{SERVER}?flow=x", K, "field flow has a value that is not known to Byway"),
    (f"vless://{SERVER}?security=tls&fp=netscape", K, "field fp has a value that is not known to Byway"),
    (f"ss://{b64('rot13:x')}@relay.example:1", K, "field cipher has a value that is not known to Byway"),
    (vmess_link(scy="des"), K, "field scy has a value that is not known to Byway"),
    (f"tuic://{UUID}:x@relay.example:443?congestion_control=x", K,
     "field congestion_control has a value that is not known to Byway"),
    # certificates that are not checked
    (f"vless://{SERVER}?security=tls&allowInsecure=1", N, f"field allowInsecure: {UNCHECKED}"),
    (f"trojan://{SECRET}@relay.example:443?insecure=true", N, f"field insecure: {UNCHECKED}"),
    (f"trojan://{SECRET}@relay.example:443?allowInsecure=1&insecure=1", N, f"field allowInsecure: {UNCHECKED}"),
    (f"hy2://{SECRET}@relay.example?insecure=1", N, f"field insecure: {UNCHECKED}"),
    (f"tuic://{UUID}:x@relay.example:443?allow_insecure=1", N, f"field allow_insecure: {UNCHECKED}"),
    (f"anytls://{SECRET}@relay.example:443?insecure=1", N, f"field insecure: {UNCHECKED}"),
    (vmess_link(tls="tls", **{"skip-cert-verify": True}), N, f"field skip-cert-verify: {UNCHECKED}"),
    (vmess_link(tls="tls", verify_cert=False), N, "field verify_cert: the server's certificate would not be checked"),
    # second servers
    (f"hy2://{SECRET}@relay.example:443,5000-6000", N, f"field ports: {HOPS}"),
    (f"hy2://{SECRET}@relay.example:20000-50000/", N, f"field ports: {HOPS}"),
    (f"hy2://{SECRET}@relay.example:443?mport=5000-6000", N, f"field mport: {HOPS}"),
    (f"vless://{SERVER}?security=tls&ech=cloudflare-ech.com%2Bhttps%3A%2F%2F192.0.2.9%2Fdns-query", N,
     "field ech: ECH by a name to ask for names a second server"),
    (f"vless://{SERVER}?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22address%22%3A%22192.0.2.9%22%7D%7D", N,
     f"field extra.downloadSettings: {SECOND}"),
    (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}&address=10.0.0.2&wnoise=quic", N,
     "field wnoise: packets that hide WireGuard are supported as those of AmneziaWG only"),
    # known and not supported
    (f"vless://{SERVER}?type=kcp&seed=x", N, "type=kcp is not supported"),
    (f"vless://{SERVER}?type=quic&quicSecurity=none&key=", N, "type=quic is not supported"),
    (f"vless://{SERVER}?security=xtls&flow=xtls-rprx-direct", N, "flow=xtls-rprx-direct is not supported"),
    (f"vless://{SERVER}?security=xtls", N, "security=xtls is not supported"),
    (f"vless://{SERVER}?encryption=aes", N, "field encryption: it is none of VLESS that Byway knows"),
    (f"vless://{SERVER}?security=reality&pbk={PBK}&pqv={PBK}", N,
     "field pqv: a second signature of the server (ML-DSA-65) is not checked by engines"),
    (f"vless://{SERVER}?security=tls&vcn=b.example", N,
     "field vcn: another name in the certificate than the SNI is not supported"),
    (f"vless://{SERVER}?fm=%7B%7D", N, "field fm: how the first packets are cut or disguised is not supported"),
    (f"vless://{SERVER}?security=tls&sni=a.example&type=grpc&authority=b.example", N,
     "field authority: another authority than the SNI is not supported"),
    (f"vless://{SERVER}?type=xhttp&extra=%7B%22sessionPlacement%22%3A%22cookie%22%7D", N,
     "field extra.sessionPlacement: how XHTTP hides its data is not supported"),
    (vmess_link(net="xhttp"), N, "field net: the transport xhttp is not supported with this protocol"),
    (vmess_link(net="kcp", path="seed"), N, "net=kcp is not supported"),
    (vmess_link(scy="aes-128-cfb"), N, "scy=aes-128-cfb is not supported"),
    (f"trojan://{SECRET}@relay.example:443?security=none", N, "field security: this protocol is used in TLS only"),
    (f"trojan://{SECRET}@relay.example:443?type=xhttp", N,
     "field type: the transport xhttp is not supported with this protocol"),
    (f"trojan://{SECRET}@relay.example:443?flow=xtls-rprx-vision", N,
     "field flow: flows are not supported with Trojan"),
    (f"ss://{b64('rc4-md5:x')}@relay.example:1", N,
     "field cipher: rc4-md5 does not protect what is sent: anyone on the way can read or change it"),
    (f"ss://{b64('aes-256-cfb:x@relay.example:1')}", N,
     "field cipher: aes-256-cfb does not protect what is sent: anyone on the way can read or change it"),
    (f"ss://{b64('aes-128-ccm:x')}@relay.example:1", N, "cipher=aes-128-ccm is not supported"),
    (f"ss://{b64('aes-128-gcm:x')}@relay.example:1?plugin=shadow-tls%3Bhost%3Da.example", N,
     "plugin=shadow-tls is not supported"),
    (f"ss://{b64('aes-128-gcm:x')}@relay.example:1?outline=1&prefix=%16%03%01", N,
     "field prefix: bytes of Outline before the first packet are not supported"),
    (f"ss://{b64('aes-128-gcm:x')}@relay.example:1?type=ws&path=/", N,
     "field type: transports beside plugins are not supported with Shadowsocks"),
    (f"hy2://{SECRET}@relay.example:443?obfs=gecko&obfs-password=x", N, "obfs=gecko is not supported"),
    ("tuic://token@relay.example:443?version=4", N, "field version: only version 5 of TUIC is supported"),
    (f"anytls://{SECRET}@relay.example:443?security=reality&pbk={PBK}", N,
     "field pbk: REALITY is not supported with this protocol"),
    (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}&address=10.0.0.2&j1=x", N,
     "field j1: only versions 1 and 2 of AmneziaWG are supported"),
    ("ssh://me@relay.example?pk=%2Fhome%2Fme%2F.ssh%2Fid", N,
     "field pk: a private key of SSH is taken as text, not by the name of a file"),
    (f"juicity://{SERVER}", N, "it is not a link of a protocol that Byway knows"),
    # damaged
    ("vless://", D, "the key has no user"),
    (f"trojan://{SECRET}", D, "the key has no password"),
    ("vless://relay.example:443", D, "the key has no user"),
    (f"vless://{UUID}@relay.example", D, "the key has no port"),
    (f"vless://{UUID}@:443", D, "the key has no host"),
    (f"vless://{UUID}@relay.example:99999", D, "the host or the port of the key is not valid: check its spelling"),
    (f"vless://{UUID}@-relay.example:443", D, "the host or the port of the key is not valid: check its spelling"),
    (f"vless://{UUID}@2001:db8::1:443", D, "an IPv6 address needs brackets, as in [2001:db8::1]:443"),
    (f"vless://{SERVER}/path", D, "the link has a path behind its port, which no such link has"),
    (f"vless://{'x' * 31}@relay.example:443", D, "the key's user is neither a UUID nor a text of at most 30 bytes"),
    (f"vless://{SERVER}?security=reality", D, "the key has no public key of REALITY (pbk)"),
    (f"vless://{SERVER}?security=reality&pbk={PBK[:-4]}", D, "field pbk is not base64 of 32 bytes"),
    (f"vless://{SERVER}?security=reality&pbk={PBK}&sid=123", D,
     "field sid is not at most 16 hexadecimal digits, two for each byte"),
    (f"vless://{SERVER}?pbk={PBK}", D, "field pbk is not of a key without TLS"),
    (f"vless://{SERVER}?security=tls&sni=a%20b", D, "field sni is not a host name"),
    (f"vless://{SERVER}?security=tls&sni=a.example&sni=b.example", D, "the link gives sni twice"),
    (f"vless://{SERVER}?security=tls&sni=a.example&peer=b.example", D, "fields sni and peer contradict each other"),
    (f"vless://{SERVER}?type=ws&path=%0d%0aX", D, "field path is not printable text of at most 8192 characters"),
    (f"vless://{SERVER}?type=ws&host=a/b", D, "field host is not a host name"),
    (f"vless://{SERVER}?type=xhttp&extra=%7B", D, "it is not valid JSON: the fault is in line 1"),
    (f"vless://{SERVER}?type=%ff", D, "type is not percent-encoded UTF-8"),
    (f"vless://{SERVER}?security=tls&allowInsecure=maybe", D, "field allowInsecure is not true or false"),
    (f"vless://{SERVER}?security=tls&ech=AAAA", D, "field ech is not an ECH configuration in base64"),
    (f"vless://{SERVER}?security=tls&pcs=abcd", D,
     "field pcs is not the SHA-256 of one certificate, in 64 hexadecimal digits"),
    (f"vless://{SERVER}?" + "&".join(f"a{number}=1" for number in range(70)), D, "a link has at most 64 fields"),
    (f"vless://{SERVER}?type=" + "x" * 17000, D, "it is not a link of at most 16384 characters"),
    ("vmess://" + b64("{"), D, "it is not valid JSON: the fault is in line 1"),
    ("vmess://" + b64('{"ps": "x"}'), D, "the key has no host"),
    ("vmess://" + b64('{"add": "a.example", "add": "b.example"}'), D, "the JSON gives a field twice"),
    (vmess_link() + "?remarks=x&obfs=websocket", D, "it is neither a link with UUID@HOST:PORT nor JSON in base64"),
    ("vmess://!!!", D, "it is neither a link with UUID@HOST:PORT nor JSON in base64"),
    (vmess_link(port="x"), D, "the host or the port of the key is not valid: check its spelling"),
    (vmess_link(aid="-1"), D, "field aid is not a number from 0 to 65535"),
    ("trojan://@relay.example:443", D, "the key has no password"),
    ("trojan://pa?ss@relay.example:443", D, "what stands before @ contains ?: write it as %3F"),
    ("trojan://pa#ss@relay.example:443", D, "what stands before @ contains #: write it as %23"),
    ("trojan://pa/ss@relay.example:443", D, "what stands before @ contains /: write it as %2F"),
    ("ss://relay.example:8388", D, "it is neither a link with HOST:PORT nor such a link in base64"),
    ("ss://eHh4@relay.example:8388", D,
     "what stands before @ is not a cipher and a password, in base64 or with a colon between them"),
    (f"ss://{b64('aes-128-gcm:')}@relay.example:1", D, "the key has no password"),
    (f"ss://2022-blake3-aes-256-gcm:{PSK_16}@relay.example:1", D,
     "a password of 2022-blake3-aes-256-gcm is base64 of 32 bytes"),
    (f"hy2://{SECRET}@relay.example:443?obfs=salamander", D, "the key has no password for obfs"),
    ("hy2://relay.example:443", D, "the key has no password"),
    ("tuic://token@relay.example:443", D,
     "the key has no password; version 4 of TUIC, with a token, is not supported"),
    ("tuic://me:x@relay.example:443", D, "the key's user is not a UUID"),
    (f"wg://relay.example:1?publickey={WG_PEER}", D, "the key has no private key"),
    (f"wg://{WG_KEY}@relay.example:1?address=10.0.0.2", D, "the key has no public key of the server"),
    (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}", D,
     "the key has no address, or too many, for this computer in the tunnel"),
    (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}&address=here", D, "field address is not a list of addresses"),
    (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}&address=10.0.0.2&reserved=1,2", D,
     "field reserved is not three numbers from 0 to 255, or base64 of three bytes"),
    ("ssconf://me@relay.example/x", D, "the address of an Outline key has no user"),
]  # fmt: skip
