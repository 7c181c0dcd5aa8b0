"""All features. Byway works without any of them: its line here and its folder can be removed."""

from __future__ import annotations

from proxy.model.feature import Feature, Page, Role
from proxy.model.phrase import _, pgettext

FEATURES = (
    Feature(
        "today",
        commands={
            "stop": "stop_commands:add_to",
            "restart": "stop_commands:add_to",
            "status": "commands:add_to",
            "mode": "mode_commands:add_to",
            "pause": "mode_commands:add_to",
            "resume": "mode_commands:add_to",
        },
        endpoints=("endpoints:StatusEndpoints", "endpoints:ModeEndpoints"),
        problems="endpoints:problems",
        pages=(Page("home", pgettext("page", "Home"), ("page:ROUTES",)),),
    ),
    Feature(
        "sites",
        commands={
            "why": "why_command:add_to",
            "test": "survey_command:add_to",
            "report": "report_command:add_to",
            "site": "commands:add_to",
        },
        endpoints=("endpoints:SiteEndpoints", "measurement_endpoints:MeasurementEndpoints"),
        stored={
            "sites": "reader:list_sites",
            "sites/{host}": "reader:show_site",
            "measurements/{host}": "reader:no_measurements",
        },
        problems="problems:problems",
        forgets="measurement_cache:forget",
        provides={Role.SITES: "reader:said"},
        pages=(
            Page(
                "sites",
                _("Sites"),
                ("list_page:ROUTES", "page:ROUTES", "report_page:ROUTES"),
            ),
            Page("why", _("Why?"), ("why_page:ROUTES",)),
        ),
    ),
    Feature(
        "traffic",
        commands={"log": "commands:add_to"},
        endpoints=("log_endpoints:LogEndpoints", "connection_endpoints:ConnectionEndpoints"),
        stored={"log": "reader:read_log"},
        pages=(
            Page("live", _("Live"), ("live_page:ROUTES",)),
            Page("log", pgettext("page", "Log"), ("log_page:ROUTES",)),
        ),
    ),
    Feature(
        "relays",
        commands={"relay": "commands:add_to"},
        endpoints=("endpoints:RelayEndpoints",),
        stored={"relays": "reader:list_relays"},
        problems="problems:problems",
        provides={Role.RELAYS: "reader:answer"},
        pages=(Page("relays", _("Relays"), ("page:ROUTES",)),),
    ),
    Feature(
        "rules",
        commands={"rule": "commands:add_to", "list": "list_commands:add_to"},
        endpoints=("endpoints:RuleEndpoints", "list_endpoints:ListEndpoints"),
        problems="problems:problems",
        pages=(Page("rules", _("Rules"), ("page:ROUTES",)),),
    ),
    Feature("networks", pages=(Page("networks", _("Networks"), ("page:ROUTES",)),)),
    Feature(
        "addons",
        commands={"addons": "commands:add_to"},
        endpoints=("endpoints:AddonEndpoints",),
        problems="problems:problems",
        checks="checks:checks",
        pages=(Page("addons", _("Addons"), ("page:ROUTES",)),),
    ),
    Feature(
        "settings",
        commands={"config": "commands:add_to", "forget": "forget_command:add_to"},
        endpoints=("endpoints:SettingsEndpoints",),
        pages=(Page("settings", _("Settings"), ("page:ROUTES",)),),
    ),
    Feature(
        "desktop",
        commands={
            "browser": "browser_command:add_to",
            "pac": "pac_command:add_to",
            "env": "env_command:add_to",
            "system": "system_command:add_to",
            "service": "service_command:add_to",
        },
        endpoints=("endpoints:SystemProxyEndpoints",),
        settings=("desktop",),
        hints="profiles:hints",
        provides={
            Role.FRONT_PAGE: "own_pages:front_page",
            Role.FIRST_STEPS: "first_steps:FirstSteps",
            Role.LEFT_OVER: "temporary_profiles:remove_all_left_over",
            Role.NOTIFICATIONS: "notifications:Notifications",
        },
        pages=(Page("setup", _("Set-up"), ("page:ROUTES",)),),
    ),
    Feature(
        "inspection",
        commands={"ca": "commands:add_to"},
        settings=("inspect",),
        provides={Role.INSPECTOR: "inspector:make", Role.PROFILE_TRUST: "trust:trust_in_profile"},
    ),
    Feature("doctor", commands={"doctor": "command:add_to"}),
    Feature("demo", commands={"demo": "command:add_to"}),
)
