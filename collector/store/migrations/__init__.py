"""Migrations: `versions/NNNN_what.py`, applied in the order of their numbers by `collector.store.migrate`.

How to add one: take the next number, `revision = "0003"`, `down_revision = "0002"`; change `schema/` in the same
commit (a test compares the two). Forward only. One statement a call, as plain SQL that reads well in `psql`, and
no statement that holds a lock for long: an index on a table with data is made CONCURRENTLY in an
`op.get_context().autocommit_block()`. What must be so on Citus, too, stands in the rules of the schema:
every key carries `trace_id`, no triggers, compression in CREATE TABLE.
"""
