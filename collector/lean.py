"""Libraries without what they load and X-Ray never uses: most of an idle process's memory is imported code.

A finder in front of the others changes how two modules are run, whoever imports them first, and in what order.
`importlib.abc` is not named here: it would itself load thirty modules.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class WithoutOrm:
    """Runs SQLAlchemy's asyncio package as its engine alone; sessions, and with them the ORM, come when asked for."""

    NAMES = ("AsyncConnection", "AsyncEngine", "create_async_engine")

    def __init__(self, found: Any) -> None:
        self._found = found

    def create_module(self, _: ModuleSpec) -> None:
        return None

    def exec_module(self, package: ModuleType) -> None:
        def load_all(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            del package.__dict__["__getattr__"]
            self._found.exec_module(package)
            return getattr(package, name)

        from sqlalchemy.ext.asyncio import engine

        package.__dict__.update({name: getattr(engine, name) for name in self.NAMES}, __getattr__=load_all)


class WithoutRich:
    """Runs a module as if rich were not installed."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def create_module(self, _: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        loaded = sys.modules.pop("rich", None)
        sys.modules["rich"] = None  # type: ignore[assignment] # how Python is told that a module is missing
        try:
            self._found.exec_module(module)
        finally:
            del sys.modules["rich"]
            if loaded is not None:
                sys.modules["rich"] = loaded


LOADERS: dict[str, Any] = {
    "sqlalchemy.ext.asyncio": WithoutOrm,
    # It would take rich for tracebacks, which X-Ray does not print: they hold what senders wrote.
    "structlog.dev": WithoutRich,
}


class LeanImports:
    """Finds the modules of `LOADERS`, and leaves all others to the finders behind it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in LOADERS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = LOADERS[name](spec.loader)
        return spec


def import_leanly() -> None:
    """Once a process, before its first import of a library."""
    if LeanImports not in sys.meta_path:
        sys.meta_path.insert(0, LeanImports)
