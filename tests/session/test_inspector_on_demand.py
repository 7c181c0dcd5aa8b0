"""An inspector that is made when it is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.session.inspector import DO_NOT_INSPECT, InspectionDecision
from proxy.session.inspector_on_demand import InspectorOnDemand


class Inspector:
    """Notes what it is asked."""

    uninspected = "a.example"

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def decide(self, _outcome: object, _flight: object) -> InspectionDecision:
        self.calls.append("decide")
        return DO_NOT_INSPECT

    def on_addons_changed(self) -> None:
        self.calls.append("addons changed")

    def forget_rejections(self) -> None:
        self.calls.append("forget")

    async def close(self) -> None:
        self.calls.append("close")


UNUSED: Any = SimpleNamespace()


def on_demand() -> tuple[InspectorOnDemand, list[Inspector]]:
    """One, and those that it will make."""
    made = list[Any]()

    def make() -> Any:
        made.append(Inspector())
        return made[-1]

    return InspectorOnDemand(make), made


async def test_without_a_connection_to_inspect_none_is_made() -> None:
    inspector, made = on_demand()
    inspector.on_addons_changed()
    inspector.forget_rejections()
    assert inspector.uninspected == ""
    await inspector.close()
    assert made == []


async def test_it_is_made_once_and_told_of_all_from_then_on() -> None:
    inspector, made = on_demand()
    assert await inspector.decide(UNUSED, None) is DO_NOT_INSPECT
    assert await inspector.decide(UNUSED, None) is DO_NOT_INSPECT
    inspector.on_addons_changed()
    inspector.forget_rejections()
    assert inspector.uninspected == "a.example"
    await inspector.close()
    assert [each.calls for each in made] == [["decide", "decide", "addons changed", "forget", "close"]]
