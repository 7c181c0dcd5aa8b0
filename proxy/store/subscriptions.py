"""The relays of subscriptions, from the last good copies of their files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.load import Loaded
from proxy.config.schema import SubscriptionConfig
from proxy.model.errors import ConfigError
from proxy.store.list_copies import ListCopies

if TYPE_CHECKING:
    from proxy.config.subscriptions import Entry

log = logging.getLogger(__name__)


def with_subscriptions(loaded: Loaded, copies: ListCopies) -> Loaded:
    """Returns the configuration with the relays of its subscriptions and their groups. A copy that is missing or cannot
    be read is a group without relays. Does nothing for a configuration that has them already."""
    settings = loaded.settings
    groups = {group.name for group in settings.group}
    if all(item.name in groups for item in settings.subscription):
        return loaded
    from proxy.config.subscriptions import with_members  # few have a subscription

    return replace(loaded, settings=with_members(settings, lambda item: copy_of(item, copies)))


def copy_of(item: SubscriptionConfig, copies: ListCopies) -> tuple[Sequence[Entry], Mapping[str, str]]:
    """Returns the entries of the last good copy, and the names of its relays by place."""
    from proxy.config.subscriptions import read_entries

    try:
        data = copies.content(item.url)
        entries = () if data is None else read_entries(data.decode(errors="replace"))
        if data is not None and not entries:
            raise ConfigError("it is empty")
    except ConfigError as error:
        log.warning("Subscription %s has no relays: its copy cannot be used: %s", item.name, error.problems[0])
        entries = ()
    return entries, copies.names(item.url)
