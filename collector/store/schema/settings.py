"""What people set while X-Ray runs."""

from sqlalchemy import Column, Date, Table, Text

from collector.store.schema.columns import JsonText, metadata, now_column

# Model prices set by REST; one table for all projects. `rates` is JSON text of `collector.mapping.rates.Rates`.
model_prices = Table(
    "model_prices",
    metadata,
    Column("name", Text, primary_key=True),
    Column("rates", JsonText, nullable=False),
    Column("priced_on", Date, nullable=False),
    now_column("changed_at"),
)
