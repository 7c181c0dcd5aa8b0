"""Keys in the forms in which clients and panels export them, each with the value that is read or the sentence.

One table for all: by the program that writes the form, then what is damaged on the way. Hosts are of documentation,
secrets invented. `made_keys` has what the reader itself has to tell apart.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from proxy.model import Destination
from proxy.wire.keys.values import (
    AnyTls,
    Grpc,
    Http2,
    HttpHeader,
    Hysteria2,
    Key,
    Obfs,
    OutlineAddress,
    RelayLink,
    Shadowsocks,
    Ssh,
    Tls,
    Trojan,
    Tuic,
    V2rayPlugin,
    Vless,
    WebSocket,
    Xhttp,
)
from tests.wire.keys.made_keys import (
    AT,
    HOPS,
    MLKEM,
    PBK,
    PIN,
    PLAIN_TLS,
    PSK_16,
    PSK_32,
    REALITY,
    SECOND,
    SECRET,
    SERVER,
    UNCHECKED,
    UUID,
    WEAKER,
    b64,
    b64_url,
    ss,
    vless,
    vmess,
    vmess_link,
)

TROJAN = f"trojan://{SECRET}@relay.example:443"
SS = f"ss://{b64_url('aes-256-gcm:' + SECRET)}@relay.example:8388"
CDN = Tls("cdn.example.com", client="chrome")
WS = WebSocket("cdn.example.com", "/ws")
EARLY = WebSocket("cdn.example.com", "/ws", (), 2560, "Sec-WebSocket-Protocol")
VISION = Tls("www.example.com", client="chrome", reality=REALITY)
SHAPED = "how the first packets are cut or disguised is not supported"


def trojan(name: str = "", tls: Tls = PLAIN_TLS, transport: WebSocket | Grpc | None = None) -> Trojan:
    return Trojan(AT, name, SECRET, tls, transport)


def shadowrocket(scheme: str, query: str, user: str = f"auto:{UUID}") -> str:
    return f"{scheme}://{b64_url(f'{user}@relay.example:443')}?{query}"


def clash(**fields: object) -> str:
    """One proxy in the flow form in which Clash's own list has it."""
    return f"proxies:\n  - {json.dumps({'name': 'One', 'server': 'relay.example', 'port': 443} | fields)}\n"


def sing_box(**fields: object) -> str:
    outbound = {"tag": "One", "server": "relay.example", "server_port": 443} | fields
    return json.dumps({"outbounds": [outbound, {"type": "direct", "tag": "direct"}]})


V2RAYN: list[tuple[str, Key | RelayLink | str]] = [
    (f"vless://{SERVER}?encryption=none&flow=xtls-rprx-vision&security=reality&sni=www.example.com&fp=chrome&pbk={PBK}"
     "&sid=0123abcd&spx=%2F&type=tcp&headerType=none#%F0%9F%87%A9%F0%9F%87%AA%20Berlin",
     vless("🇩🇪 Berlin", uses_vision=True, tls=VISION)),
    (f"vless://{SERVER}?encryption=none&security=tls&sni=cdn.example.com&fp=chrome&insecure=0&allowInsecure=0&type=ws"
     "&host=cdn.example.com&path=%2Fws%3Fed%3D2560#CDN",
     vless("CDN", tls=CDN, transport=EARLY)),
    (f"vless://{SERVER}?encryption={MLKEM}&security=none&type=xhttp&path=%2Fx&mode=packet-up"
     "&extra=%7B%22xPaddingBytes%22%3A%22100-1000%22%7D",
     vless(encryption=MLKEM, transport=Xhttp("", "/x", "packet-up", (), "100-1000"))),
    (f"vless://{SERVER}?encryption=none&security=tls&type=grpc&authority=&serviceName=tun&mode=gun",
     vless(tls=PLAIN_TLS, transport=Grpc("tun"))),
    (f"vless://{SERVER}?encryption=none&security=tls&pcs={PIN.hex()}&type=tcp&headerType=none",
     vless(tls=Tls(pin=PIN))),
    (f"vless://{SERVER}?encryption=none&security=tls&fm=%7B%22tcp%22%3A%5B%5D%7D&type=tcp&headerType=none",
     f"field fm: {SHAPED}"),
    (f"vless://{SERVER}?encryption=none&security=none&type=kcp&headerType=none&seed=x&mtu=1350",
     "type=kcp is not supported"),
    (vmess_link(v="2", port="443", aid="0", scy="auto", net="ws", type="none", host="cdn.example.com", path="/ws",
                tls="tls", sni="cdn.example.com", alpn="", fp="chrome", insecure="0"),
     vmess(tls=CDN, transport=WS)),
    (vmess_link(v=2, port=443, aid=0, scy="", net="tcp", type="none", host=None, path=None, tls="", vcn="", pcs=""),
     vmess()),
    (vmess_link(net="grpc", type="gun", host="", path="tun", tls="tls", alpn="h2"),
     vmess(tls=Tls(alpn=("h2",)), transport=Grpc("tun"))),
    (vmess_link(net="h2", type="none", host="a.example.com,b.example.com", path="/h", tls="tls"),
     vmess(tls=PLAIN_TLS, transport=Http2(("a.example.com", "b.example.com"), "/h"))),
    (vmess_link(net="tcp", type="http", host="a.example.com", path="/"),
     vmess(transport=HttpHeader(("a.example.com",), ("/",), "GET"))),
    (vmess_link(net="kcp", type="wechat-video", path="seed"), "net=kcp is not supported"),
    (vmess_link(tls="tls", insecure="1"), f"field insecure: {UNCHECKED}"),
    (vmess_link().replace("=", "%3D"), vmess()),
    (f"{SS}#My%20server", ss("aes-256-gcm", name="My server")),
    (f"{SS}?plugin=obfs-local%3Bobfs%3Dhttp%3Bobfs-host%3Da.example",
     ss("aes-256-gcm", plugin=Obfs("http", "a.example"))),
    (f"{SS}?plugin=v2ray-plugin%3Bmode%3Dwebsocket%3Bhost%3Da.example%3Bpath%3D%2Fws%3Btls%3Bmux%3D0",
     ss("aes-256-gcm", plugin=V2rayPlugin(WebSocket("a.example", "/ws"), PLAIN_TLS))),
    (f"{SS}?plugin=v2ray-plugin%3Bmode%3Dwebsocket%3Bhost%3Da.example%3Bpath%3D%2Fws%3Btls%3BcertRaw%3DMIIB",
     "field plugin.certRaw: it changes which certificates are accepted, or shows one of the client's"),
    (f"{TROJAN}?security=tls&sni=cdn.example.com&fp=chrome&type=ws&host=cdn.example.com&path=%2Fws#T",
     trojan("T", CDN, WS)),
    (f"hysteria2://{SECRET}@relay.example:443?sni=a.example.com&alpn=h3&obfs=salamander&obfs-password=x#H",
     Hysteria2(AT, "H", SECRET, "x", Tls("a.example.com", alpn=("h3",)))),
    (f"hysteria2://{SECRET}@relay.example:443?sni=a.example.com&insecure=1&mport=5000-6000", f"field mport: {HOPS}"),
    (f"hysteria2://{SECRET}@relay.example:443?sni=a.example.com&insecure=1", f"field insecure: {UNCHECKED}"),
    (f"tuic://{UUID}%3A{SECRET}@relay.example:443?sni=a.example.com&alpn=h3&congestion_control=bbr#U",
     Tuic(AT, "U", UUID, SECRET, "bbr", Tls("a.example.com", alpn=("h3",)))),
    (f"anytls://{SECRET}@relay.example:443?security=tls&sni=a.example.com&fp=chrome&type=tcp&headerType=none#A",
     AnyTls(AT, "A", SECRET, Tls("a.example.com", client="chrome"))),
    (f"socks://{b64(f'me:{SECRET}')}@relay.example:1080#S",
     RelayLink(f"socks5h://me:{SECRET}@relay.example:1080#S", "")),
    (f"socks://{b64(f'me:{SECRET}@relay.example:1080')}#S",
     RelayLink(f"socks5h://me:{SECRET}@relay.example:1080#S", "")),
    (f"ss://{b64('none:x')}@relay.example:8388",
     "field cipher: none does not protect what is sent: anyone on the way can read or change it"),
]  # fmt: skip

NEKOBOX: list[tuple[str, Key | RelayLink | str]] = [
    (f"vless://{SERVER}?type=tcp&encryption=none&flow=xtls-rprx-vision&security=reality&sni=www.example.com&fp=chrome"
     f"&pbk={PBK}&sid=0123abcd&packetEncoding=xudp#N",
     vless("N", uses_vision=True, tls=VISION)),
    (f"vless://{SERVER}?type=ws&encryption=none&host=cdn.example.com&path=%2Fws&ed=2560&eh=Sec-WebSocket-Protocol"
     "&security=tls&sni=cdn.example.com&fp=chrome&packetEncoding=packetaddr",
     vless(tls=CDN, transport=EARLY)),
    (f"vless://{SERVER}?type=http&encryption=none&host=a.example.com&path=%2Fh&security=tls",
     vless(tls=PLAIN_TLS, transport=Http2(("a.example.com",), "/h"))),
    (f"vless://{SERVER}?type=tcp&encryption=none&security=tls&cert=-----BEGIN%20CERTIFICATE-----",
     "field cert: it changes which certificates are accepted, or shows one of the client's"),
    (f"vmess://{SERVER}?encryption=auto&type=ws&host=cdn.example.com&path=%2Fws&security=tls&sni=cdn.example.com"
     "&fp=chrome#M",
     vmess("M", tls=CDN, transport=WS)),
    (f"{TROJAN}?security=tls&type=grpc&serviceName=s&alpn=h2&allowInsecure=0",
     trojan(tls=Tls(alpn=("h2",)), transport=Grpc("s"))),
    (f"{SS}/?plugin=obfs-local%3Bobfs%3Dtls%3Bobfs-host%3Da.example#O",
     ss("aes-256-gcm", name="O", plugin=Obfs("tls", "a.example"))),
    (f"ss://2022-blake3-aes-128-gcm:{quote(PSK_16, safe='')}@relay.example:8388#B",
     ss("2022-blake3-aes-128-gcm", PSK_16, name="B")),
    (f"hy2://me:{SECRET}@relay.example:443/?sni=a.example.com",
     Hysteria2(AT, "", f"me:{SECRET}", "", Tls("a.example.com"))),
    (f"hysteria://relay.example:443?auth={SECRET}&peer=a.example.com&upmbps=10&downmbps=50&alpn=h3",
     "it is not a link of a protocol that Byway knows"),
    (f"tuic://{UUID}:{SECRET}@relay.example:443?congestion_control=cubic&udp_relay_mode=native&sni=a.example.com"
     "&alpn=h3&disable_sni=1",
     Tuic(AT, "", UUID, SECRET, "cubic", Tls("a.example.com", sends_sni=False, alpn=("h3",)))),
    (f"tuic://{UUID}:{SECRET}@relay.example:443?udp_relay_mode=quic&allow_insecure=1",
     f"field allow_insecure: {UNCHECKED}"),
    (f"anytls://{SECRET}@relay.example:443?insecure=0&sni=a.example.com&fp=chrome",
     AnyTls(AT, "", SECRET, Tls("a.example.com", client="chrome"))),
    (f"trojan-go://{SECRET}@relay.example:443/?sni=a.example.com&type=ws&host=a.example.com&path=%2Fws",
     "it is not a link of a protocol that Byway knows"),
    (f"socks5://me:{SECRET}@relay.example:1080#S", RelayLink(f"socks5://me:{SECRET}@relay.example:1080#S", "")),
    (f"https://me:{SECRET}@relay.example:8443/?sni=a.example.com#P",
     RelayLink(f"https://me:{SECRET}@relay.example:8443/?sni=a.example.com#P", "")),
]  # fmt: skip

SHADOWROCKET: list[tuple[str, Key | RelayLink | str]] = [
    (shadowrocket("vmess", "remarks=One&obfsParam=cdn.example.com&path=/ws&obfs=websocket&tls=1&peer=cdn.example.com"
                  "&alterId=0&tfo=1&udp=1"),
     vmess(tls=Tls("cdn.example.com"), transport=WS)),
    (shadowrocket("vmess", "remark=%F0%9F%87%AF%F0%9F%87%B5%20TG@moon&obfsParam=%7B%22Host%22:%22cdn.example.com%22%7D"
                  "&path=/ws?ed=2560&obfs=websocket&alterId=64", f"aes-128-gcm:{UUID}"),
     vmess("🇯🇵 TG@moon", alter_id=64, cipher="aes-128-gcm", transport=EARLY)),
    (shadowrocket("vmess", "remarks=One&obfs=none&tls=0&alterId=0"), vmess()),
    (shadowrocket("vmess", "remarks=One&obfs=http&obfsParam=a.example.com&path=/&alterId=0"),
     vmess(transport=HttpHeader(("a.example.com",), ("/",), "GET"))),
    (shadowrocket("vmess", "remarks=One&obfs=grpc&path=tun&tls=1&alterId=0"),
     vmess(tls=PLAIN_TLS, transport=Grpc("tun"))),
    (shadowrocket("vmess", "remarks=One&obfs=mkcp&alterId=0"), "type=kcp is not supported"),
    (shadowrocket("vmess", "remarks=One&obfs=websocket&obfsParam=%7B%22Host%22:%22a%22,%22X-A%22:%22b%22%7D"),
     "field obfsParam: headers beside Host are not supported"),
    (shadowrocket("vmess", "remarks=One&tls=1&allowInsecure=1"), f"field allowInsecure: {UNCHECKED}"),
    (shadowrocket("vless", f"remarks=One&obfs=none&tls=1&peer=www.example.com&xtls=2&pbk={PBK}&sid=0123abcd"),
     vless("One", uses_vision=True, tls=Tls("www.example.com", reality=REALITY))),
    (shadowrocket("vless", "remarks=One&tls=1&obfs=websocket&obfsParam=cdn.example.com&path=%2Fws", f"none:{UUID}"),
     vless("One", tls=PLAIN_TLS, transport=WS)),
    (shadowrocket("vless", "remarks=One&tls=1&xtls=1"), "flow=xtls-rprx-direct is not supported"),
    (shadowrocket("vless", "remarks=One&tls=1&mux=1"), "field mux: connections in one another (mux) are not supported"),
    (f"{TROJAN}?peer=cdn.example.com&plugin=obfs-local;obfs=websocket;obfs-host=cdn.example.com;obfs-uri=/ws#T",
     trojan("T", Tls("cdn.example.com"), WS)),
    (f"{TROJAN}?allowInsecure=0&&peer=a.example.com&sni=a.example.com&tfo=1", trojan(tls=Tls("a.example.com"))),
    (f"{TROJAN}?udp&tfo&ws&wspath=%2Fws", trojan(transport=WebSocket("", "/ws"))),
    (f"{TROJAN}?plugin=obfs-local;obfs=tls;obfs-host=a.example", "field plugin: plugins are not supported with Trojan"),
    (f"ss://{b64_url('aes-256-gcm:' + SECRET + '@relay.example:8388')}?uot=2&v2ray-plugin="
     + b64_url('{"peer":"a.example","mux":false,"path":"/ws","host":"a.example","mode":"websocket","tls":true}') + "#V",
     ss("aes-256-gcm", name="V", plugin=V2rayPlugin(WebSocket("a.example", "/ws"), Tls("a.example")))),
    (f"{SS}?v2ray-plugin=" + b64_url('{"mode":"websocket","address":"192.0.2.9"}'), f"field plugin.address {WEAKER}"),
    (f"{SS}?shadow-tls=" + b64_url('{"version":"3","host":"a.example","password":"x"}'),
     "field shadow-tls: a plugin by this field is not supported"),
    (f"{SS}?obfs=websocket&obfsParam=a.example&path=/ws", "field obfs: a plugin by this field is not supported"),
    (f"hysteria2://{SECRET}@relay.example:443?peer=a.example.com&alpn=h3&obfs=none&udp=1&fastopen=1",
     Hysteria2(AT, "", SECRET, "", Tls("a.example.com", alpn=("h3",)))),
    (f"socks5://{b64_url(f'me:{SECRET}@relay.example:1080')}?remarks=S",
     RelayLink(f"socks5h://me:{SECRET}@relay.example:1080", "")),
]  # fmt: skip

HIDDIFY: list[tuple[str, Key | RelayLink | str]] = [
    (f"vless://{SERVER}?hiddify=1&sni=cdn.example.com&type=ws&alpn=http/1.1&path=/ws&host=cdn.example.com"
     "&encryption=none&fp=chrome&headerType=None&security=tls#W",
     vless("W", tls=Tls("cdn.example.com", alpn=("http/1.1",), client="chrome"), transport=WS)),
    (f"vless://{SERVER}?hiddify=1&sni=a.example.com&type=httpupgrade&alpn=http/1.1&path=/u&host=a.example.com"
     "&encryption=none&fp=chrome&headerType=http&security=tls",
     vless(tls=Tls("a.example.com", alpn=("http/1.1",), client="chrome"),
           transport=WebSocket("a.example.com", "/u", is_upgrade=True))),
    (f"vless://{SERVER}?hiddify=1&sni=a.example.com&type=xhttp&alpn=h2&path=/x&host=a.example.com&encryption=none"
     "&fp=chrome&core=xray&headerType=http&security=tls",
     vless(tls=Tls("a.example.com", alpn=("h2",), client="chrome"), transport=Xhttp("a.example.com", "/x", "auto"))),
    (f"vless://{SERVER}?hiddify=1&sni=www.example.com&type=tcp&alpn=h2&encryption=none&fp=chrome&headerType=None"
     f"&flow=xtls-rprx-vision&security=reality&pbk={PBK}&sid=0123abcd",
     vless(uses_vision=True, tls=Tls("www.example.com", alpn=("h2",), client="chrome", reality=REALITY))),
    (f"vless://{SERVER}?hiddify=1&sni=a.example.com&type=grpc&serviceName=s&mode=multi&alpn=h2&encryption=none"
     "&headerType=None&security=tls",
     vless(tls=Tls("a.example.com", alpn=("h2",)), transport=Grpc("s"))),
    (f"vless://{SERVER}?hiddify=1&sni=a.example.com&type=tcp&fragment=tlshello,10-100,50-200&security=tls",
     f"field fragment: {SHAPED}"),
    (f"vless://{SERVER}?hiddify=1&sni=a.example.com&type=tcp&mc=1&padsize=1-1500&security=tls", f"field mc: {SHAPED}"),
    (f"vless://{SERVER}?hiddify=1&type=tcp&muxtype=h2mux&muxmaxc=4&mux=4&muxpad=True&security=tls",
     "field muxtype: connections in one another (mux) are not supported"),
    (f"{TROJAN}?hiddify=1&sni=a.example.com&type=ws&alpn=http/1.1&path=/ws&host=a.example.com&fp=chrome"
     "&headerType=None&allowInsecure=true&security=tls", f"field allowInsecure: {UNCHECKED}"),
    (f"hysteria2://{UUID}@relay.example:443?hiddify=1&obfs=salamander&obfs-password=x&sni=a.example.com",
     Hysteria2(AT, "", UUID, "x", Tls("a.example.com"))),
    (f"tuic://{UUID}:{UUID}@relay.example:443?congestion_control=cubic&udp_relay_mode=native&sni=a.example.com&alpn=h3",
     Tuic(AT, "", UUID, UUID, "cubic", Tls("a.example.com", alpn=("h3",)))),
    (f"{SS}?plugin=obfs-local&obfs-host=a.example&obfs=http&udp-over-tcp=true#F",
     ss("aes-256-gcm", name="F", plugin=Obfs("http", "a.example"))),
    (f"{SS}?plugin=v2ray-plugin&mode=websocket&path=/ws&host=a.example&tls&udp-over-tcp=true",
     ss("aes-256-gcm", plugin=V2rayPlugin(WebSocket("a.example", "/ws"), PLAIN_TLS))),
    (vmess_link(aid=0, scy="chacha20-poly1305", net="tcp", type="http", host="a.example.com", path="/p",
                alpn="h2,http/1.1", tls="tls", sni="a.example.com", fp="chrome"),
     vmess(cipher="chacha20-poly1305", tls=Tls("a.example.com", alpn=("h2", "http/1.1"), client="chrome"),
           transport=HttpHeader(("a.example.com",), ("/p",), "GET"))),
    (vmess_link(fragment="tlshello,10-20,30-40"), f"field fragment: {SHAPED}"),
    ("trojan://1@192.0.2.1#%E2%9C%96%20Package%20Ended", "the key has no port"),
    (f"//profile-title: base64:{b64('Mine')}\n//profile-update-interval: 1\n#subscription-userinfo: upload=0\n"
     f"{TROJAN}#T",
     trojan("T")),
    (f"#profile-title: Mine\n{b64(f'{TROJAN}#T')}", trojan("T")),
    ("//profile-title: Mine\n" + sing_box(type="trojan", password=SECRET, tls={"enabled": True}), trojan("One")),
]  # fmt: skip

MARZBAN: list[tuple[str, Key | RelayLink | str]] = [
    (f"vless://{SERVER}?security=reality&type=tcp&headerType=&flow=xtls-rprx-vision&path=&host=&sni=www.example.com"
     f"&fp=chrome&pbk={PBK}&sid=0123abcd#%F0%9F%9A%80%20Marz%20%28me%29%20%5BVLESS%20-%20tcp%5D",
     vless("🚀 Marz (me) [VLESS - tcp]", uses_vision=True, tls=VISION)),
    (f"vless://{SERVER}?security=tls&type=ws&headerType=&path=%2Fws%3Fed%3D2560&host=cdn.example.com"
     "&heartbeatPeriod=30&sni=cdn.example.com&fp=chrome&alpn=http%2F1.1",
     vless(tls=Tls("cdn.example.com", alpn=("http/1.1",), client="chrome"), transport=EARLY)),
    (f"vless://{SERVER}?security=tls&type=grpc&headerType=&serviceName=s&authority=&mode=multi&sni=a.example.com&fp=",
     vless(tls=Tls("a.example.com"), transport=Grpc("s"))),
    (f"vless://{SERVER}?security=none&type=xhttp&headerType=&path=%2Fx&host=&mode=auto&extra=%7B%22scMaxEachPostBytes%22"
     "%3A+1000000%2C+%22scMaxConcurrentPosts%22%3A+100%2C+%22scMinPostsIntervalMs%22%3A+30%2C+%22xPaddingBytes%22%3A+"
     "%22100-1000%22%2C+%22noGRPCHeader%22%3A+false%7D",
     vless(transport=Xhttp("", "/x", "auto", (), "100-1000", max_post_bytes="1000000", min_post_interval_ms="30"))),
    (f"vless://{SERVER}?security=tls&type=tcp&headerType=&path=&host=&sni=a.example.com&fp=chrome"
     "&fragment=100-200%2C10-20%2Ctlshello", f"field fragment: {SHAPED}"),
    (f"vless://{SERVER}?security=tls&type=tcp&headerType=&path=&host=&sni=a.example.com&fp=&allowInsecure=1",
     f"field allowInsecure: {UNCHECKED}"),
    (vmess_link(net="grpc", type="", host="", path="s", mode="multi", tls="tls", sni="a.example.com", fp=""),
     vmess(tls=Tls("a.example.com"), transport=Grpc("s"))),
    (vmess_link(net="xhttp", type="auto", path="/x", host="", tls="none",
                extra={"xPaddingBytes": "100-1000", "noGRPCHeader": False, "xmux": {"maxConcurrency": "1"}}),
     "field net: the transport xhttp is not supported with this protocol"),
    (vmess_link(net="ws", type="", path="/ws", host="cdn.example.com", tls="tls", sni="cdn.example.com", fp="chrome",
                alpn="", heartbeatPeriod=30), vmess(tls=CDN, transport=WS)),
    (f"{TROJAN}?security=tls&type=ws&headerType=&path=%2Fws&host=cdn.example.com&sni=cdn.example.com&fp=chrome",
     trojan(tls=CDN, transport=WS)),
    (f"{TROJAN}?security=none&type=tcp&headerType=&path=&host=", "field security: this protocol is used in TLS only"),
    (f"ss://{b64('chacha20-ietf-poly1305:' + SECRET)}@relay.example:8388#%F0%9F%9A%80",
     ss("chacha20-ietf-poly1305", name="🚀")),
    (b64(f"{TROJAN}#T"), trojan("T")),
]  # fmt: skip

THREE_X_UI: list[tuple[str, Key | RelayLink | str]] = [
    (f"vless://{SERVER}?encryption=none&flow=xtls-rprx-vision&fp=chrome&pbk={PBK}&security=reality&sid=0123abcd"
     "&sni=www.example.com&spx=%2FaBc&type=tcp#in-me%7C%F0%9F%93%8A1.5GB%7C%E2%8F%B330D",
     vless("in-me|📊1.5GB|⏳30D", uses_vision=True, tls=VISION)),
    (f"vless://{SERVER}?pqv={PBK}&pbk={PBK}&security=reality&sid=&type=tcp",
     "field pqv: a second signature of the server (ML-DSA-65) is not checked by engines"),
    (f"vless://{SERVER}?alpn=h2%2Chttp%2F1.1&encryption=none&fp=chrome&host=a.example.com&mode=auto&path=%2Fx"
     "&security=tls&sni=a.example.com&type=xhttp&x_padding_bytes=100-1000",
     vless(tls=Tls("a.example.com", alpn=("h2", "http/1.1"), client="chrome"),
           transport=Xhttp("a.example.com", "/x", "auto", (), "100-1000"))),
    (f"vless://{SERVER}?headerType=http&host=a.example.com&path=%2F&security=none&type=tcp",
     vless(transport=HttpHeader(("a.example.com",), ("/",), "GET"))),
    (f"vless://{SERVER}?authority=&mode=multi&security=none&serviceName=s&type=grpc", vless(transport=Grpc("s"))),
    (f"vless://{SERVER}?headerType=none&security=none&seed=x&type=kcp", "type=kcp is not supported"),
    (f"vless://{SERVER}?security=tls&sni=a.example.com&pcs={PIN.hex()}%2C{PIN.hex()}&type=tcp",
     "field pcs is not the SHA-256 of one certificate, in 64 hexadecimal digits"),
    (f"vless://{SERVER}?security=tls&sni=a.example.com&vcn=b.example.com&type=tcp",
     "field vcn: another name in the certificate than the SNI is not supported"),
    (vmess_link(port=443, scy="auto", net="grpc", path="s", authority="", type="multi", tls="none"),
     vmess(transport=Grpc("s"))),
    (vmess_link(port=443, scy="auto", net="httpupgrade", path="/u", host="a.example.com", tls="tls",
     sni="a.example.com",
                fp="chrome", alpn="h2,http/1.1", allowInsecure=False, type="none"),
     vmess(tls=Tls("a.example.com", alpn=("h2", "http/1.1"), client="chrome"),
           transport=WebSocket("a.example.com", "/u", is_upgrade=True))),
    (f"{TROJAN}?fp=chrome&pbk={PBK}&security=reality&sid=0123abcd&sni=www.example.com&spx=%2F&type=tcp",
     trojan(tls=VISION)),
    (f"ss://{b64(f'2022-blake3-aes-256-gcm:{PSK_32}:{PSK_32}')}@relay.example:8388?type=tcp#S",
     ss("2022-blake3-aes-256-gcm", f"{PSK_32}:{PSK_32}", name="S")),
    (f"ss://2022-blake3-aes-256-gcm:{quote(PSK_32, safe='')}%3A{quote(PSK_32, safe='')}@relay.example:8388?type=tcp",
     ss("2022-blake3-aes-256-gcm", f"{PSK_32}:{PSK_32}")),
    (f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:8388?type=ws&path=%2F&security=tls",
     "field type: transports beside plugins are not supported with Shadowsocks"),
    (f"hysteria2://{SECRET}@relay.example:443?alpn=h3&fp=chrome&obfs=salamander&obfs-password=x&pinSHA256={PIN.hex()}"
     "&security=tls&sni=a.example.com",
     Hysteria2(AT, "", SECRET, "x", Tls("a.example.com", alpn=("h3",), client="chrome", pin=PIN))),
]  # fmt: skip

OUTLINE: list[tuple[str, Key | RelayLink | str]] = [
    (f"ss://{b64_url('chacha20-ietf-poly1305:' + SECRET)}@relay.example:8388/?outline=1#Mine",
     ss("chacha20-ietf-poly1305", name="Mine")),
    (f"ss://{b64_url('AEAD_CHACHA20_POLY1305:' + SECRET)}@192.0.2.7:8388/?outline=1",
     Shadowsocks(Destination("192.0.2.7", 8388), "", "chacha20-ietf-poly1305", SECRET, None)),
    (f"ss://{b64_url('chacha20-ietf-poly1305:' + SECRET)}@relay.example:8388/?outline=1"
     "&prefix=%16%03%01%00%C2%A8%01%01",
     "field prefix: bytes of Outline before the first packet are not supported"),
    ("ssconf://relay.example/keys/mine.json#Mine", OutlineAddress(AT, "Mine", "/keys/mine.json")),
    (json.dumps({"server": "relay.example", "server_port": 8388, "password": SECRET, "method": "aes-256-gcm"}),
     ss("aes-256-gcm")),
    (json.dumps({"version": 1, "servers": [{"id": "1", "remarks": "One", "server": "relay.example", "server_port": 8388,
                                            "password": SECRET, "method": "aes-256-gcm"}]}),
     ss("aes-256-gcm", name="One")),
    (json.dumps({"error": {"message": "expired"}}),
     "its server says an error in place of a key, as Outline does: ask the key's owner"),
]  # fmt: skip

CLASH_VERGE: list[tuple[str, Key | RelayLink | str]] = [
    (clash(type="vless", uuid=UUID, network="tcp", tls=True, udp=True, flow="xtls-rprx-vision",
           servername="www.example.com", **{"client-fingerprint": "chrome", "skip-cert-verify": False,
           "reality-opts": {"public-key": PBK, "short-id": "0123abcd"}}),
     vless("One", uses_vision=True, tls=VISION)),
    (clash(type="vmess", uuid=UUID, alterId=0, cipher="auto", udp=True, tls=True, servername="cdn.example.com",
           network="ws", **{"client-fingerprint": "chrome", "ws-opts": {"path": "/ws?ed=2560",
                                                                        "headers": {"Host": "cdn.example.com"}}}),
     vmess(tls=CDN, transport=EARLY)),
    (clash(type="trojan", password=SECRET, sni="a.example.com", alpn=["h2", "http/1.1"], udp=True, network="grpc",
           **{"grpc-opts": {"grpc-service-name": "s", "_grpc-type": "gun"}}),
     trojan("One", Tls("a.example.com", alpn=("h2", "http/1.1")), Grpc("s"))),
    (clash(type="trojan", password=SECRET, sni="a.example.com", **{"skip-cert-verify": True}),
     f"field skip-cert-verify: {UNCHECKED}"),
    (clash(type="ss", cipher="aes-256-gcm", password=SECRET, port=8388, udp=True, plugin="obfs",
           **{"plugin-opts": {"mode": "http", "host": "a.example"}}),
     ss("aes-256-gcm", name="One", plugin=Obfs("http", "a.example"))),
    (clash(type="ss", cipher="aes-256-gcm", password=SECRET, plugin="shadow-tls",
           **{"plugin-opts": {"host": "a.example", "password": "x", "version": 3}}),
            "plugin=shadow-tls is not supported"),
    (clash(type="hysteria2", password=SECRET, sni="a.example.com", up="30 Mbps", down="200 Mbps", alpn=["h3"],
           **{"skip-cert-verify": False, "fast-open": True}),
     Hysteria2(AT, "One", SECRET, "", Tls("a.example.com", alpn=("h3",)))),
    (clash(type="hysteria2", password=SECRET, ports="20000-50000", **{"hop-interval": 30}), f"field ports: {HOPS}"),
    (clash(type="tuic", uuid=UUID, password=SECRET, **{"congestion-controller": "bbr", "reduce-rtt": True}),
     Tuic(AT, "One", UUID, SECRET, "bbr", PLAIN_TLS)),
    (clash(type="http", username="me", password=SECRET, tls=True),
     RelayLink(f"https://me:{SECRET}@relay.example:443", "One")),
    (clash(type="socks5", port=1080, username="me", password=SECRET),
     RelayLink(f"socks5h://me:{SECRET}@relay.example:1080", "One")),
    (clash(type="ssr", cipher="aes-256-cfb", password=SECRET), "type ssr is not supported"),
    (clash(type="vless", uuid=UUID, **{"dialer-proxy": "Two"}), f"field dialer-proxy: {SECOND}"),
    (f"- {{name: One, type: trojan, server: relay.example, port: 443, password: {SECRET}, udp: true}}", trojan("One")),
    (f"proxies:\n- name: One\n  type: ss\n  server: relay.example\n  port: 8388\n  cipher: aes-256-gcm\n"
     f"  password: '{SECRET}'\nproxy-groups: []\nrules:\n- MATCH,DIRECT\n", ss("aes-256-gcm", name="One")),
    ("p: &p {type: ss}\nproxies:\n- {<<: *p, name: One}\n",
     "the YAML has an anchor (&) or an alias (*), which Byway does not read"),
]  # fmt: skip

SING_BOX: list[tuple[str, Key | RelayLink | str]] = [
    (sing_box(type="vless", uuid=UUID, flow="xtls-rprx-vision", packet_encoding="xudp",
              tls={"enabled": True, "server_name": "www.example.com", "insecure": False,
                   "utls": {"enabled": True, "fingerprint": "chrome"},
                   "reality": {"enabled": True, "public_key": PBK, "short_id": "0123abcd"}}),
     vless("One", uses_vision=True, tls=VISION)),
    (sing_box(type="vmess", uuid=UUID, security="auto", alter_id=0, multiplex={"enabled": False},
              tls={"enabled": True, "server_name": "cdn.example.com",
               "utls": {"enabled": True, "fingerprint": "chrome"}},
              transport={"type": "ws", "path": "/ws", "headers": {"Host": "cdn.example.com"}, "max_early_data": 2560,
                         "early_data_header_name": "Sec-WebSocket-Protocol"}),
     vmess(tls=CDN, transport=EARLY)),
    (sing_box(type="vmess", uuid=UUID, tls={"enabled": True},
              transport={"type": "http", "path": "/h", "headers": {"Host": ["a.example.com"]}}),
     vmess(tls=PLAIN_TLS, transport=Http2(("a.example.com",), "/h"))),
    (sing_box(type="vmess", uuid=UUID, tls={"enabled": True},
              transport={"type": "http", "path": "/h", "headers": {"X-A": "b"}}),
     "field transport.headers: headers beside Host are not supported with HTTP/2"),
    (sing_box(type="trojan", password=SECRET, tls={"enabled": True}, multiplex={"enabled": True, "protocol": "h2mux"}),
     "field multiplex: connections in one another (mux) are not supported"),
    (sing_box(type="shadowsocks", method="aes-256-gcm", password=SECRET, server_port=8388, plugin="obfs-local",
              plugin_opts="obfs=http;obfs-host=a.example"),
     ss("aes-256-gcm", name="One", plugin=Obfs("http", "a.example"))),
    (sing_box(type="hysteria2", password=SECRET, up_mbps=30, down_mbps=200,
              tls={"enabled": True, "server_name": "a.example.com", "alpn": ["h3"]}),
     Hysteria2(AT, "One", SECRET, "", Tls("a.example.com", alpn=("h3",)))),
    (sing_box(type="hysteria2", password=SECRET, server_ports=["20000:50000"], tls={"enabled": True}),
     f"field server_ports: {HOPS}"),
    (sing_box(type="trojan", password=SECRET, detour="Two", tls={"enabled": True}), f"field detour: {SECOND}"),
    (sing_box(type="trojan", password=SECRET, tls={"enabled": True, "certificate_path": "/etc/x"}),
     "field tls.certificate_path: it names a file"),
    (sing_box(type="ssh", user="me", password=SECRET, host_key=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"]),
     Ssh(AT, "One", "me", SECRET, "", "", ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",))),
    (sing_box(type="socks", version="5", username="me", password=SECRET, server_port=1080),
     RelayLink(f"socks5h://me:{SECRET}@relay.example:1080", "One")),
    (json.dumps({"outbounds": [{"tag": "One", "protocol": "vless", "settings": {"vnext": []}}]}),
     "configurations of Xray are not read; use the link of the key"),
]  # fmt: skip

ON_THE_WAY: list[tuple[str, Key | RelayLink | str]] = [
    # copied out of a page, of JSON, of a chat, or encoded twice: nothing is lost
    (f"vless://{SERVER}?encryption=none&amp;security=reality&amp;pbk={PBK}&amp;sid=0123abcd&amp;sni=www.example.com"
     "&amp;fp=chrome&amp;flow=xtls-rprx-vision", vless(uses_vision=True, tls=VISION)),
    (f"vless://{SERVER}?encryption=none\\u0026security=tls", vless(tls=PLAIN_TLS)),
    (f"{TROJAN}?type=ws&path=%252Fws&alpn=h2%252Chttp%252F1.1",
     trojan(tls=Tls(alpn=("h2", "http/1.1")), transport=WebSocket("", "/ws"))),
    (f"VLESS://{UUID.upper()}@RELAY.example.:443/?Security=TLS&FP=Chrome&Type=TCP&headertype=None&encryption=None",
     vless(tls=Tls(client="chrome"))),
    (f"vless://{SERVER}?security=tls&fp=hellochrome_120", vless(tls=Tls(client="chrome"))),
    (f"vless://{SERVER}?security=tls&fp=HelloFirefox_Auto", vless(tls=Tls(client="firefox"))),
    (f"STATUS=🚀↑:0.1GB,↓:1GB,TOT:50GB💡Expires:2030-01-01\nREMARKS=Mine\n{TROJAN}#T", trojan("T")),
    (f"\ufeff{TROJAN}#T\r\n", trojan("T")),
    (f"hysteria2://{SECRET}@relay.example:443?obfs=plain", Hysteria2(AT, "", SECRET, "", PLAIN_TLS)),
    (f"vless://{UUID}@[2001:db8::1]:8443?security=none#IPv6",
     Vless(Destination("2001:db8::1", 8443), "IPv6", UUID, "", uses_vision=False, tls=None, transport=None)),
    (f"vless://{UUID}@my_server.example.com:443",
     Vless(Destination("my_server.example.com", 443), "", UUID, "", uses_vision=False, tls=None, transport=None)),
    (f"vless://{UUID.replace('-', '')}@relay.example:443",
     Vless(AT, "", UUID.replace("-", ""), "", uses_vision=False, tls=None, transport=None)),
    # what is damaged, and not guessed
    (f"vless://{SERVER}?security=tls&fp=unsafe", "fp=unsafe is not supported"),
    (f"vless://{SERVER}?security=tls&cs=TLS_AES_128_GCM_SHA256", "field cs: a choice of ciphers is not supported"),
    (f"vless://{UUID}@2001:db8::1:443", "an IPv6 address needs brackets, as in [2001:db8::1]:443"),
    (f"vless://{UUID}@relay.example", "the key has no port"),
    (f"vless://{UUID[:30]}…@relay.example:443", "the key's user is neither a UUID nor a text of at most 30 bytes"),
    (f"vless://{SERVER}?security=reality&sni=www.example.com", "the key has no public key of REALITY (pbk)"),
    (f"vless://{SERVER}?security=reality&pbk={PBK[:30]}", "field pbk is not base64 of 32 bytes"),
    (f"vless://{SERVER}?security=tls&type=ws&type=tcp", "the link gives type twice"),
    (f"vless://{SERVER}?security=tls&sni=a.example.com&peer=b.example.com",
     "fields sni and peer contradict each other"),
    (vmess_link()[:-20], "it is not valid JSON: the fault is in line 1"),
    (vmess_link()[:-23], "it is neither a link with UUID@HOST:PORT nor JSON in base64"),
    (f"vmess://{base64.b64encode(b'{').decode()}", "it is not valid JSON: the fault is in line 1"),
    ("ss://YWVzLTI1Ni1nY20@relay.example:8388",
     "what stands before @ is not a cipher and a password, in base64 or with a colon between them"),
    (f"ss://2022-blake3-aes-256-gcm:{PSK_16}@relay.example:8388",
     "a password of 2022-blake3-aes-256-gcm is base64 of 32 bytes"),
    (f"ss://{b64('aes-256-cfb:x')}@relay.example:8388",
     "field cipher: aes-256-cfb does not protect what is sent: anyone on the way can read or change it"),
    ("trojan://pa#ss@relay.example:443", "what stands before @ contains #: write it as %23"),
    (f"{TROJAN}?sni=[a.example.com](http://a.example.com)", "field sni is not a host name"),
    (f"hysteria2://{SECRET}@relay.example:443?obfs=salamander", "the key has no password for obfs"),
    (f"tuic://{SECRET}@relay.example:443",
     "the key has no password; version 4 of TUIC, with a token, is not supported"),
    (f"ssr://{b64_url('relay.example:443:origin:aes-256-cfb:plain:eA')}",
     "it is not a link of a protocol that Byway knows"),
    (f"naive+https://me:{SECRET}@relay.example:443", "it is not a link of a protocol that Byway knows"),
    (b64(f"{TROJAN}#T")[:-9] + "é", "it is of no notation of keys that Byway knows"),
    ("<!doctype html><title>403 Forbidden</title>", "it is of no notation of keys that Byway knows"),
]  # fmt: skip

ROWS: list[tuple[str, str, Key | RelayLink | str]] = [
    (client, text, result)
    for client, rows in {
        "v2rayN": V2RAYN,
        "NekoBox": NEKOBOX,
        "Shadowrocket": SHADOWROCKET,
        "Hiddify": HIDDIFY,
        "Marzban": MARZBAN,
        "3x-ui": THREE_X_UI,
        "Outline": OUTLINE,
        "Clash Verge": CLASH_VERGE,
        "sing-box": SING_BOX,
        "on the way": ON_THE_WAY,
    }.items()
    for text, result in rows
]
