"""Every dialect, in order of precedence: what a user set for a vendor by hand comes before what is automatic."""

from collector.mapping.dialects.dialect import Dialect
from collector.mapping.dialects.gen_ai import GEN_AI
from collector.mapping.dialects.general import GENERAL
from collector.mapping.dialects.openinference import OPENINFERENCE
from collector.mapping.dialects.web import WEB
from collector.mapping.dialects.xray import XRAY

DIALECTS: tuple[Dialect, ...] = (
    XRAY,
    OPENINFERENCE,
    GEN_AI,
    WEB,
    GENERAL,
)
