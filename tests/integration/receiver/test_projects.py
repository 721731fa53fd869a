"""Projects that senders name: made as they come, up to a limit."""

from collector.receiver.decode import Encoding
from collector.receiver.ingest import Signal
from collector.store.spool_file import Spooled

from .conftest import Receiver
from .otlp import span, traces


async def test_past_the_limit_only_spans_for_new_projects_are_refused(receiver: Receiver, route: str) -> None:
    await receiver.send(route, traces(span("first"), resource={"xray.project": "known"}))
    receiver.database.most_projects = len(await receiver.rows("SELECT FROM projects"))
    mixed = traces(span("kept"), resource={"xray.project": "known"})
    mixed.MergeFrom(traces(span("gone"), span("gone, too"), resource={"xray.project": "new"}))
    outcome = await receiver.send(route, mixed)
    assert (outcome.code, outcome.rejected) == (0, 2)
    assert "XRAY_MAX_PROJECTS" in outcome.message
    names = {row["name"] for row in await receiver.steps()}
    assert names == {"first", "kept"}
    assert receiver.counted("xray_spans_rejected_total", reason="project_limit") == 2
    spooled = traces(span("acknowledged"), resource={"xray.project": "new"}).SerializeToString()
    await receiver.ingest.replay(Spooled(Signal.TRACES.value, Encoding.PROTOBUF.value, None, spooled))
    assert "acknowledged" in {row["name"] for row in await receiver.steps()}
