"""Imports every name in the table of features, for `app.feature_check`, and prints the features that do not work.

python -m proxy.cli.check_features
"""

from __future__ import annotations

import contextlib
import json
import os

from proxy.features.table import FEATURES
from proxy.model.feature import BrokenFeature


def main() -> None:
    """Prints a JSON object: the error of each feature that does not work, by its name."""
    with contextlib.suppress(AttributeError, OSError):  # Windows has none
        os.nice(10)
    broken: dict[str, str] = {}
    for feature in FEATURES:
        for name in feature.names():
            try:
                feature.load(name)
            except BrokenFeature as error:
                broken.setdefault(feature.name, str(error))
    print(json.dumps(broken))


if __name__ == "__main__":
    main()
