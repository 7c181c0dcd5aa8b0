"""A private copy of Debian's folders, on which the real update-ca-certificates works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.features.inspection import trust_stores
from proxy.features.inspection.system_stores import AnchorFolder
from tests.support.authority import Authority as Public


@dataclass(frozen=True)
class Debian:
    """Its store, and what is made of it."""

    store: AnchorFolder
    made: Path

    def state(self) -> dict[str, bytes | str]:
        """All that lies in the folders, links by where they lead."""
        found = [path for folder in (self.store.folder, self.made) for path in folder.iterdir()]
        return {str(path): str(path.readlink()) if path.is_symlink() else path.read_bytes() for path in found}


def make_debian(folder: Path) -> Debian:
    """With one public authority, so that the bundle is never empty."""
    shipped, local, made, hooks = (folder / name for name in ("shipped", "local", "made", "hooks"))
    for part in (shipped, local, made, hooks):
        part.mkdir(parents=True)
    (shipped / "public.crt").write_text(Public().pem)
    (folder / "ca-certificates.conf").write_text("public.crt\n")
    update = (
        *("update-ca-certificates", "--certsconf", str(folder / "ca-certificates.conf"), "--certsdir", str(shipped)),
        *("--localcertsdir", str(local), "--etccertsdir", str(made), "--hooksdir", str(hooks)),
    )
    store = AnchorFolder("Debian's store", local, ".crt", made / "ca-certificates.crt", update, (*update, "--fresh"))
    trust_stores.run(trust_stores.TrustStep(update))
    return Debian(store, made)


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    """As root sees it: nothing in it needs root."""
    monkeypatch.setattr(trust_stores, "is_root", lambda: True)
    return make_debian(tmp_path / "debian")
