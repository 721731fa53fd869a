"""The price table that the settings ask for."""

from collector.config import Settings
from collector.errors import Misconfigured
from collector.mapping.prices import PriceTable
from collector.mapping.rates import read_rates


def price_table(settings: Settings) -> PriceTable:
    """Kept prices, and those of XRAY_PRICES_FILE over them. Raises Misconfigured where that can't be read."""
    file = settings.prices_file
    if file is None:
        return PriceTable()
    try:
        return PriceTable(*read_rates(file.read_text(encoding="utf-8"), f"XRAY_PRICES_FILE={file}"))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"XRAY_PRICES_FILE={file} can't be read: {error}.") from error
