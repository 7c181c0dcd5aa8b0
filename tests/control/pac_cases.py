"""URLs, and whether the proxy configuration files send them direct."""

from __future__ import annotations

DIRECT = (
    "http://localhost/", "http://localhost:3000/x", "http://app.localhost/", "http://127.0.0.1/", "http://127.5.6.7/",
    "http://[::1]/", "http://intranet/", "http://my-printer/", "http://printer.local/", "http://a.b.local/",
    "http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.9.9/", "http://192.168.1.1/",
    "http://169.254.1.1/", "http://[fe80::1]/", "http://[fc00::1]/", "http://[fd12:3456::1]/",
    "http://100.64.0.1/", "http://100.99.1.1/", "http://100.127.255.1/", "http://nas.lan/", "http://a.home.arpa/",
    "http://pc.home/", "http://wiki.corp/",
)  # fmt: skip
PROXIED = (
    "http://example.org/", "https://example.org/", "http://www.example.org/", "http://10.example.com/",
    "http://127.example.com/", "http://10.0.0.1.example.com/", "http://192.168.1.1.example.com/",
    "http://localhost.example.com/", "http://local.example.com/", "http://example.local.org/", "http://x.notlocal.org/",
    "http://fd12.example.org/", "http://fe80.example.org/", "http://11.0.0.1/", "http://172.15.0.1/",
    "http://172.32.0.1/", "http://192.169.0.1/", "http://169.253.1.1/", "http://128.0.0.1/", "http://8.8.8.8/",
    "http://[2001:db8::1]/", "http://[fb00::1]/",
    "http://100.63.0.1/", "http://100.128.0.1/", "http://lan.example.org/", "http://home.arpa.example.org/",
    "http://xlan.example/", "http://xn--e1afmkfd.xn--p1ai/",
)  # fmt: skip
