"""All features. Byway works without any of them: its line here and its folder can be removed."""

from __future__ import annotations

from proxy.model.feature import Feature, Page, Role
from proxy.model.phrase import _, pgettext

FEATURES = (
    Feature(
        "today",
        commands={
            "stop": "stop_commands:stop",
            "restart": "stop_commands:restart",
            "status": "commands:status",
            "mode": "mode_commands:mode",
            "pause": "mode_commands:pause",
            "resume": "mode_commands:resume",
        },
        endpoints=("endpoints:StatusEndpoints", "endpoints:ModeEndpoints"),
        problems="endpoints:problems",
        pages=(Page("today", pgettext("page", "Today"), ("page:ROUTES",)),),
    ),
    Feature(
        "sites",
        commands={
            "why": "why_command:why",
            "test": "survey_command:survey",
            "report": "report_command:report",
            "site": "commands:group",
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
        ),
    ),
    Feature(
        "traffic",
        commands={"log": "commands:group"},
        endpoints=("log_endpoints:LogEndpoints", "connection_endpoints:ConnectionEndpoints"),
        stored={"log": "reader:read_log"},
        pages=(
            Page("traffic", pgettext("page", "Traffic"), ("page:ROUTES", "rule_page:ROUTES"), also=("live", "log")),
        ),
    ),
    Feature(
        "relays",
        commands={"relay": "commands:group"},
        endpoints=("endpoints:RelayEndpoints",),
        stored={"relays": "answers:list_relays"},
        problems="problems:problems",
        provides={Role.RELAYS: "answers:answer"},
        pages=(Page("relays", _("Relays"), ("page:ROUTES", "adding_page:ROUTES")),),
    ),
    Feature(
        "rules",
        commands={"rule": "commands:group", "list": "list_commands:group"},
        endpoints=("endpoints:RuleEndpoints", "list_endpoints:ListEndpoints"),
        problems="problems:problems",
        pages=(Page("rules", _("Rules"), ("page:ROUTES", "list_page:ROUTES")),),
    ),
    Feature("imports", commands={"import": "command:take_over"}),
    Feature(
        "keys",
        problems="problems:problems",
        checks="checks:checks",
        provides={Role.KEY_ENGINE: "engine:MihomoEngine"},
    ),
    Feature("networks", pages=(Page("networks", _("Networks"), ("page:ROUTES",)),)),
    Feature(
        "addons",
        commands={"addons": "commands:group"},
        endpoints=("endpoints:AddonEndpoints",),
        problems="problems:problems",
        checks="checks:checks",
        pages=(Page("addons", _("Addons"), ("page:ROUTES",)),),
    ),
    Feature(
        "settings",
        commands={"config": "commands:group", "forget": "forget_command:forget"},
        endpoints=("endpoints:SettingsEndpoints",),
        pages=(Page("settings", _("Settings"), ("page:ROUTES", "programs:ROUTES")),),
    ),
    Feature("help", pages=(Page("help", _("Help"), ("page:ROUTES",)),)),
    Feature(
        "desktop",
        commands={
            "browser": "browser_command:browser",
            "pac": "pac_command:pac",
            "env": "env_command:env",
            "system": "system_command:group",
            "service": "service_command:group",
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
        commands={"ca": "commands:group"},
        settings=("inspect",),
        provides={Role.INSPECTOR: "inspector:MitmInspector", Role.PROFILE_TRUST: "trust:trust_in_profile"},
    ),
    Feature(
        "lan",
        commands={"lan": "commands:group"},
        endpoints=("endpoints:LanEndpoints",),
        settings=("lan",),
        pages=(Page("phones", _("Phones"), ("page:ROUTES",)),),
    ),
    Feature("doctor", commands={"doctor": "command:doctor"}),
    Feature("demo", commands={"demo": "command:demo"}),
)
