"""The proof that a report was not changed: a SHA-256 of its content and, with `--sign`, an Ed25519 signature.

The content is every JSON document of the file, each with sorted keys, without spaces, in UTF-8 and followed by a line
feed, without the hash, the key and the signature themselves. These are fields of the last document; in OONI's format,
of its annotations, so that every line stays a measurement. The signature is over the hash. Its key is made for one file
and thrown away: no file of Byway shows who made a report.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from proxy.model.document import Document
from proxy.model.errors import BywayError
from proxy.model.phrase import _

FILE_LIMIT = 32 * 1024 * 1024
"""Bytes of the largest report that is checked: some 25,000 a site that was tested a few times."""

_PARTS_MAX = 500_000
"""Objects and lists in the largest report that is checked: one of 2 bytes takes up to 232 of memory."""

NOTE = (
    "sha256 is the hash of the other content: JSON with sorted keys, without spaces, in UTF-8, each document followed "
    "by a line feed. It shows that the file was not changed since it was written. Neither the hash nor a signature "
    "shows who made the report or that it is true: the key of a signature is made for one file and thrown away."
)

_HASH, _KEY, _SIGNATURE = "sha256", "public_key", "signature"
_SPACE = re.compile(r"[ \t\r\n]*")


class BadProof(BywayError):
    """A report was changed, or has no hash. The message is a phrase that begins with the file."""


def proven(documents: Sequence[Document], *, sign: bool = False) -> list[Document]:
    """Returns the documents of a report with the hash of their content in the last one, and a signature if asked."""
    if not documents:
        return []
    *others, last = documents
    last = _with(last, {"proof": NOTE})
    digest = _digest([*others, last])
    proof = {_HASH: digest.hex()}
    if sign:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # 40 ms

        key = Ed25519PrivateKey.generate()
        proof |= {_KEY: key.public_key().public_bytes_raw().hex(), _SIGNATURE: key.sign(digest).hex()}
    return [*others, _with(last, proof)]


def check(text: str, file: str) -> tuple[str, str]:
    """Returns the hash of a report and the public key of its signature, empty for one that is not signed. Raises
    BadProof. `file` is the name for messages."""
    if text.count("{") + text.count("[") > _PARTS_MAX:
        raise BadProof(_("{file}: has too many objects and lists for a report", file=file))
    no_hash = BadProof(_("{file}: has no hash (sha256)", file=file))
    documents = list[Document]()
    try:
        for document in _documents(text):
            if not isinstance(document, dict):
                raise no_hash
            documents.append(document)
        *others, last = documents
        proof, last = _taken_apart(last)
        digest = _digest([*others, last])
    except (ValueError, RecursionError):
        if form := _format_of(text):
            raise _without_hash(file, form) from None
        raise BadProof(_("{file}: is not JSON, so it has no hash", file=file)) from None
    if _HASH not in proof:
        raise _without_hash(file, "har") if "log" in last else no_hash
    if proof.pop(_HASH) != digest.hex():
        raise BadProof(_("{file}: the hash differs: the report was changed after it was written", file=file))
    if proof and not _is_signed(proof, digest):
        raise BadProof(_("{file}: the signature differs: it was not made for this report", file=file))
    return digest.hex(), str(proof.get(_KEY, ""))


def _without_hash(file: str, form: str) -> BadProof:
    said = _("{file}: is a report in the format {format}, which has no hash; json and ooni have one")
    return BadProof(said.given(file=file, format=form))


def _format_of(text: str) -> str:
    """Returns the format of a report that is not JSON; empty for another text."""
    return "md" if text.startswith("# Byway report\n") else "csv" if text.startswith("at,url,source,") else ""


def _documents(text: str) -> Iterator[Any]:
    """Yields each JSON document of a text. Raises ValueError, also for a number that JSON does not have, and for a name
    that an object has twice: programs differ in which of the two they take."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)
    place = _after_space(text, 0)
    while place < len(text):
        document, place = decoder.raw_decode(text, place)
        yield document
        place = _after_space(text, place)


def _after_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()


def _object(fields: Sequence[tuple[str, Any]]) -> Document:
    made = dict(fields)
    if len(made) < len(fields):
        raise ValueError("a name twice in one object")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _with(document: Document, fields: Document) -> Document:
    """Returns a document with fields in the object that has the proof: of a measurement of OONI, its annotations."""
    if "annotations" in document:
        return {**document, "annotations": {**document["annotations"], **fields}}
    return {**document, **fields}


def _taken_apart(document: Document) -> tuple[Document, Document]:
    """Returns the hash, key and signature of a document, and the document without them."""
    holder = document.get("annotations", document)
    if not isinstance(holder, dict):
        return {}, document
    proof = {name: holder[name] for name in (_HASH, _KEY, _SIGNATURE) if name in holder}
    rest = {name: value for name, value in holder.items() if name not in proof}
    return proof, rest if holder is document else {**document, "annotations": rest}


def _digest(documents: Sequence[Document]) -> bytes:
    """Returns the hash of the documents. A lone surrogate, which UTF-8 does not have, takes three bytes."""
    content = hashlib.sha256()
    for document in documents:
        line = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        content.update(f"{line}\n".encode(errors="surrogatepass"))
    return content.digest()


def _is_signed(proof: Document, digest: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(proof[_KEY]))
        key.verify(bytes.fromhex(proof[_SIGNATURE]), digest)
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return True
