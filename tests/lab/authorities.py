"""The certificate authorities of the lab: a public one, one of a state, one of an office. Each run makes them anew, and
no key is kept.

Each presents a certificate for any name that a client asks for. The authority of a state may add a real, publicly known
root to the chain that it presents: Byway identifies this root by its hash alone, and nobody outside has its key.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

_CONTEXTS_MAX = 4096
_DAY = datetime.timedelta(days=1)

# One signed certificate timestamp (RFC 6962, sections 3.2 and 3.3) of a log that nobody knows: who only looks whether
# there is one, as we do, takes it for a publicly logged certificate.
_TIMESTAMP = bytes(1 + 32 + 8 + 2) + bytes([4, 3]) + (8).to_bytes(2, "big") + bytes(8)
_TIMESTAMPS = (len(_TIMESTAMP) + 2).to_bytes(2, "big") + len(_TIMESTAMP).to_bytes(2, "big") + _TIMESTAMP
_LOGGED = x509.UnrecognizedExtension(
    ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS, bytes([4, len(_TIMESTAMPS)]) + _TIMESTAMPS
)


class Authority:
    """`with Authority("Public") as authority:` — `server()` is a context for all names, and a client trusts `pem`."""

    def __init__(self, name: str, *, shown: Sequence[x509.Certificate] = (), logged: bool = False) -> None:
        """`shown` are further certificates at the end of every chain that its servers present. `logged`: its
        certificates are in public logs, as only those of public authorities are."""
        self.name = name
        self._logged = logged
        self._shown = tuple(shown)
        self._folder = tempfile.TemporaryDirectory(prefix="byway-lab-")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())  # one for all names: a key costs more than a signature
        self.root = self._sign(_subject(name), self._key, self._key, authority=True)
        self._contexts: dict[tuple[str, ssl.TLSVersion | None, bool], ssl.SSLContext] = {}

    def __enter__(self) -> Authority:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._folder.cleanup()

    @property
    def pem(self) -> str:
        return self.root.public_bytes(Encoding.PEM).decode()

    def server(
        self,
        *default: str,
        asked: Callable[[str | None], None] | None = None,
        highest: ssl.TLSVersion | None = None,
        itself: bool = False,
        expired: bool = False,
    ) -> ssl.SSLContext:
        """A server's context that presents a certificate for exactly the name that the client asks for, and one for the
        names or addresses in `default` to a client that asks for none; `itself`: to every client. `asked` is called
        with the name. The certificate of an `expired` context was valid until yesterday."""

        def choose(sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if asked is not None:
                asked(name)
            if name is not None and not itself:
                sock.context = self._context((name,), highest, expired=expired)

        context = self._new_context(default or ("no-name.test",), highest, expired=expired)
        context.sni_callback = choose
        return context

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts this authority and no other."""
        return ssl.create_default_context(cadata=self.pem)

    def self_signed(self, name: str) -> ssl.SSLContext:
        """A server's context with a certificate for `name` that is signed by its own key alone."""
        certificate = self._sign(_subject(name), self._leaf_key, self._leaf_key, names=(name,), issuer=name)
        return self._serving((certificate,))

    def _context(self, names: Sequence[str], highest: ssl.TLSVersion | None, *, expired: bool) -> ssl.SSLContext:
        key = (names[0], highest, expired)
        if key not in self._contexts:
            if len(self._contexts) >= _CONTEXTS_MAX:
                self._contexts.clear()
            self._contexts[key] = self._new_context(names, highest, expired=expired)
        return self._contexts[key]

    def _new_context(self, names: Sequence[str], highest: ssl.TLSVersion | None, *, expired: bool) -> ssl.SSLContext:
        leaf = self._sign(_subject(names[0]), self._leaf_key, self._key, names=names, expired=expired)
        context = self._serving((leaf, *((self.root,) if self._shown else ()), *self._shown))
        if highest is not None:
            context.maximum_version = highest
        return context

    def _serving(self, chain: Sequence[x509.Certificate]) -> ssl.SSLContext:
        path = Path(self._folder.name) / "chain"  # ssl reads from files only
        path.write_bytes(
            b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
            + self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        path.unlink()
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        *,
        names: Sequence[str] = (),
        authority: bool = False,
        expired: bool = False,
        issuer: str = "",
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC) - (31 * _DAY if expired else datetime.timedelta())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_subject(issuer or self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        if authority:
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )  # fmt: skip
        else:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            if self._logged:
                builder = builder.add_extension(_LOGGED, critical=False)
        return builder.sign(signer, hashes.SHA256())


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


STATE_ROOT = x509.load_der_x509_certificate(
    base64.b64decode(
        "MIIGDTCCA/WgAwIBAgIURR0ycJaMGZl88uTjuXcI7+J28xgwDQYJKoZIhvcNAQELBQAwUzE1MDMGA1UEAxMsSW5mb3JtYXRpb24gU2VjdXJpdH"
        "kgQ2VydGlmaWNhdGlvbiBBdXRob3JpdHkxDTALBgNVBAoTBElTQ0ExCzAJBgNVBAYTAktaMCAXDTIwMDIyODA1Mzk1MVoYDzIwNTAwMjI4MDUz"
        "OTUxWjBTMTUwMwYDVQQDEyxJbmZvcm1hdGlvbiBTZWN1cml0eSBDZXJ0aWZpY2F0aW9uIEF1dGhvcml0eTENMAsGA1UEChMESVNDQTELMAkGA1"
        "UEBhMCS1owggIiMA0GCSqGSIb3DQEBAQUAA4ICDwAwggIKAoICAQDAG1+KcWtcskHGtAazD4KTLyA/0VmbEoWD1isGENWxhZIMDJOKb/ZEjTqq"
        "KoUczN7GS462DJ5zNqjgLD4wCA6yKH5QJPICQZmEmPC6RdxJy1+SKTj2M4wN8AbwL/4lS6DwtTql1mY5gF/5yxVID9J51Q1Ohga/POKJAkgLaj"
        "96MQqgzSrFg7xwNtOngNn5angf8KUnEGp1aBEqVOpVva/VNd/J7MIPQWXuanll2pBARMOH47CNymmAWncoHuMfng7WHRRC9ZBxNw4k7cMGxXi4"
        "weP71xaFLXD38Vjn/sFr4K1T2R0TEciy9AJND+mcKJEg8zy/V2YoCjEp76AYzBA2uAeowHGCdtHdp2CpKA9koUnNce63ACDkjhdB/2AYki02RZ"
        "M/yl2qVJKxz7+dtScY7pfx13o2YOk4pOCNBaO8TSeeW4AxPrgD903tCB2pfdhCVoD0GXzUgQfhbXJVeKPrSwyaqKonH9MihoWa9fSjqlUuHPaU"
        "3aTyqPe+a5S01oPwIqC7eNx1IlFyShcGUobo7+3tA0gPzmW9003P6eDgA5HnLpHw03Xkkg3IkPmkVRXM0lfWQBaNrCYPHfWpsCEPHCt+Btc+u8"
        "53QowbosGbIhup92BjnqPOAV1nRj37khc6Jrqz/905kCYLkDQ7IvJgHr2p9XfGd1lUOGerXJlM4wIDAQABo4HWMIHTMA8GA1UdEwEB/wQFMAMB"
        "Af8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBTFHTJwlowZmXzy5OO5dwjv4nbzGDCBkAYDVR0jBIGIMIGFgBTFHTJwlowZmXzy5OO5dwjv4n"
        "bzGKFXpFUwUzE1MDMGA1UEAxMsSW5mb3JtYXRpb24gU2VjdXJpdHkgQ2VydGlmaWNhdGlvbiBBdXRob3JpdHkxDTALBgNVBAoTBElTQ0ExCzAJ"
        "BgNVBAYTAktaghRFHTJwlowZmXzy5OO5dwjv4nbzGDANBgkqhkiG9w0BAQsFAAOCAgEAhKddSMIUOXYMRjcY/IjId4ujC1XWCcVRaKr2KaQnPq"
        "LaBlVu1OC2Q8cDBLdYvwPi/ZUVgjooiDAWdNvhMWjs3H1KYnJBZS5eF204qDwz9dWia2KyBP0FgZUvzepffjQZ9DuRtRAma5GjYvpsUqyMpifS"
        "dOzqEgSm6cEBsd/rIPwZH1lUAkYo4Gr0JiPQEUO162OrJS7TI2gF1cPsHq7Nz6xEdWzUC3fFoVSOcAiHUcSFecazoyIDbj9xmzrl0c2gu4HWyo"
        "98s4hXSDrtqNc9cbvyEClSc2+QDo2DDvjIFfxMeYo28IOpV1ACsEwKvj7XeBEs8XCJFU5Cw4aoH962HdKhqkAWRrJXfKCjWmHYsWQvVCMkHEku"
        "VFjyEBQNGDH+XBEuXgf6H/43AcHqOQHFcPQQakyO1oA0EAp7suJZbvp7w8AFyukHHB4k2diVOdGB3Z3K/4K9b5cJ5L3uhbl6WhrC8apAPKN3BC"
        "cnBK1nwSDYNtaPvI14GuzhP5VTueCejLhD0Rd4W96JeDVkLkwuQ8CZcfQGBkRk9etJk7erxGaq+N45QI/MaTGp2I5lWb8dVzb8wnxl2tbSY5Wm"
        "xQylzXFXj9n4pTUPuhIo/cHxtWaDSDZfK6XGMvIZtmOSpp2cPkQYTqQCNdAOuXAXJjBrQCS3YRz5QdB4+/YpoqSpFmA="
    )
)
"""The root of Kazakhstan's "Information Security Certification Authority", which signed the intermediates seen in
October and November 2023; SHA-256 c530fadc…5b25. It is a public certificate, as published in Chromium's blocklist."""
