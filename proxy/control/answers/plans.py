"""The plan for a request."""

from __future__ import annotations

from proxy.model import Action, Plan
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class PlanJson:
    """The routes that a request may take, in order. `why` names the rule, the override or the status that decides."""

    action: Action
    routes: tuple[str, ...]
    why: str

    @classmethod
    def of(cls, value: Plan) -> PlanJson:
        return cls(value.action, tuple(map(str, value.routes)), value.why)
