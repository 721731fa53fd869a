"""Every dialect, in order of precedence: what a user set for a vendor by hand comes before what is automatic."""

from collector.mapping.dialects.agent_sdks import AGENT_SDKS
from collector.mapping.dialects.claude_code import CLAUDE_CODE
from collector.mapping.dialects.codex import CODEX
from collector.mapping.dialects.crewai import CREWAI
from collector.mapping.dialects.dialect import Dialect
from collector.mapping.dialects.gemini_cli import GEMINI_CLI
from collector.mapping.dialects.gen_ai import GEN_AI
from collector.mapping.dialects.general import GENERAL
from collector.mapping.dialects.genkit import GENKIT
from collector.mapping.dialects.google_adk import GOOGLE_ADK
from collector.mapping.dialects.haystack import HAYSTACK
from collector.mapping.dialects.langfuse import LANGFUSE
from collector.mapping.dialects.langsmith import LANGSMITH
from collector.mapping.dialects.litellm import LITELLM
from collector.mapping.dialects.livekit import LIVEKIT
from collector.mapping.dialects.logfire import LOGFIRE
from collector.mapping.dialects.mcp import MCP
from collector.mapping.dialects.mlflow import MLFLOW
from collector.mapping.dialects.openinference import OPENINFERENCE
from collector.mapping.dialects.openlit import OPENLIT
from collector.mapping.dialects.openllmetry import OPENLLMETRY
from collector.mapping.dialects.spring_ai import SPRING_AI
from collector.mapping.dialects.strands import STRANDS
from collector.mapping.dialects.vercel import VERCEL
from collector.mapping.dialects.web import WEB
from collector.mapping.dialects.xray import XRAY

DIALECTS: tuple[Dialect, ...] = (
    XRAY,
    LANGFUSE,
    LANGSMITH,
    MLFLOW,
    *AGENT_SDKS,
    OPENINFERENCE,
    VERCEL,
    CLAUDE_CODE,
    CODEX,
    GEMINI_CLI,
    LOGFIRE,
    STRANDS,
    GOOGLE_ADK,
    LITELLM,
    LIVEKIT,
    HAYSTACK,
    CREWAI,
    OPENLIT,
    GENKIT,
    SPRING_AI,
    MCP,
    GEN_AI,
    OPENLLMETRY,
    WEB,
    GENERAL,
)
