"""The vantage point of a report: the provider and the country, if the user names them.

A report without them convinces few; with both, it narrows down its author. So the user decides, and Byway fills in
nothing: it could learn them only from a third party.
"""

from __future__ import annotations

import re
from typing import Self

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _

PROVIDER_LENGTH = 80
"""The most characters of a provider's name."""

_AS_NUMBER = re.compile(r"(?:AS)?([1-9][0-9]{0,9})(?![\w.-])", re.IGNORECASE | re.ASCII)
_AS_NUMBER_MAX = 2**32 - 1  # RFC 6793

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC
CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD
GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH
KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW
MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC
SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY
UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
"""ISO 3166-1, and XK, a code for private use that means Kosovo to OONI."""

_COUNTRIES = frozenset(_CODES.split())


@frozen_dataclass
class Vantage:
    """Each field is empty when the user does not name it."""

    asn: str = ""
    """The number of the provider's autonomous system, as AS12345."""
    provider: str = ""
    """The provider's name."""
    country: str = ""
    """Two letters, ISO 3166-1."""

    @classmethod
    def parse(cls, provider: str, country: str) -> Self:
        """Parses the input of a person: the AS number of the provider, its name, or both; and a country. Raises
        ValueError with a sentence."""
        asn, name = "", " ".join(provider.split())
        if number := _AS_NUMBER.match(name):
            if int(number[1]) > _AS_NUMBER_MAX:
                most = f"AS{_AS_NUMBER_MAX}"
                raise ValueError(_("An AS number is at most {number}.", number=most))
            asn, name = f"AS{number[1]}", name[number.end() :].lstrip(" ,;:")
        if len(name) > PROVIDER_LENGTH or not name.isprintable():
            raise ValueError(_("The name of a provider has at most {count} characters.", count=PROVIDER_LENGTH))
        code = country.strip().upper()
        if code and code not in _COUNTRIES:
            raise ValueError(_("A country is two letters of ISO 3166, such as {example}.", example="KZ"))
        return cls(asn, name, code)

    def __str__(self) -> str:
        return " ".join(part for part in (self.asn, self.provider) if part)


UNTOLD = Vantage()
