"""Where the data are: the Postgres of the settings, or one of X-Ray's own; at the newest schema before it is used."""

from collector.config import Settings
from collector.store.embedded import EmbeddedPostgres


class DatabaseSource:
    """Opened first and closed last; it needs little, so that the rest of the program can be loaded meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._postgres = None if settings.database_url else EmbeddedPostgres(settings.data_dir)

    async def open(self) -> str:
        """The URL. Raises Misconfigured where there is no database that can be used."""
        url = self._settings.database_url or ""
        if self._postgres is not None:
            url = await self._postgres.start()
        # Only now: the server is on its way before SQLAlchemy is loaded.
        from collector.store.migrate import expect_current
        from collector.store.upgrading import migrate_apart

        await (migrate_apart(url) if self._settings.migrate else expect_current(url))
        return url

    async def close(self) -> None:
        """Safe twice, and without `open`."""
        if self._postgres is not None:
            await self._postgres.stop()
