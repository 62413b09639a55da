"""What a connection's driver and its server say: is a transaction open, does its snapshot stand still?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["changes", "in_transaction", "reads_uncommitted", "snapshot_stands_still"]

_PG_IN_TRANSACTION: Final = frozenset({2, 3})  # in one, or in a failed one
_PG_IDLE: Final = frozenset({0, 4})  # none, or the connection is gone
_MYSQL_IN_TRANSACTION: Final = 1
_MYSQL_AUTOCOMMIT: Final = 2


def in_transaction(connection: Any) -> bool | None:
    """Whether a transaction is open, as the driver knows it; None where it does not say."""
    ask = _ASK.get(connection.vendor)
    try:
        return None if ask is None else ask(connection.connection)
    except Exception:  # a connection that is closed, a driver that is another
        return None


def _sqlite(driver: Any) -> bool | None:
    return bool(driver.in_transaction)


def _postgresql(driver: Any) -> bool | None:
    pgconn = getattr(driver, "pgconn", None)
    status = pgconn.transaction_status if pgconn is not None else driver.get_transaction_status()
    return True if status in _PG_IN_TRANSACTION else False if status in _PG_IDLE else None


def _mysql(driver: Any) -> bool | None:
    status = getattr(driver, "server_status", None)  # PyMySQL has it, mysqlclient has not
    if not isinstance(status, int):
        return None
    return bool(status & _MYSQL_IN_TRANSACTION) or not status & _MYSQL_AUTOCOMMIT


_ASK: Final[dict[str, Callable[[Any], bool | None]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mysql": _mysql,
}


def changes(connection: Any) -> int | None:
    """How many rows this session has written so far, on SQLite: also those that its own cursors wrote."""
    if connection.vendor != "sqlite" or connection.connection is None:
        return None
    return int(connection.connection.total_changes)


def snapshot_stands_still(connection: Any) -> bool:
    """Whether all reads of a transaction see one instant, by the level that is set where it is opened.

    Asked of a new connection. Django takes READ COMMITTED for granted on PostgreSQL; a server, a database or a role may
    be set to another level. Unknown databases stand still.
    """
    try:
        if connection.vendor == "postgresql":
            if "isolation_level" in connection.settings_dict["OPTIONS"]:
                return connection.isolation_level.name not in ("READ_COMMITTED", "READ_UNCOMMITTED")
            (level,) = _asked(connection, "SHOW default_transaction_isolation")[0]
            return level not in ("read committed", "read uncommitted")
        if connection.vendor == "mysql":
            return connection.isolation_level not in ("read committed", "read uncommitted")
    except Exception:  # whatever it is, it does not say
        return True
    return True


def reads_uncommitted(connection: Any) -> bool:
    """Whether reads may see what others have not committed, by the level that is set where it is opened."""
    if connection.vendor != "mysql":
        return False  # PostgreSQL reads committed rows at READ UNCOMMITTED as well
    try:
        if connection.isolation_level:
            return bool(connection.isolation_level == "read uncommitted")
        levels = {level.upper() for _, level in _asked(connection, "SHOW VARIABLES LIKE '%\\_isolation'")}
    except Exception:
        return True
    return not levels or "READ-UNCOMMITTED" in levels


def _asked(connection: Any, question: str) -> list[Any]:
    # By the driver's own cursor: no query of the application's, none that assertNumQueries() counts.
    with connection.connection.cursor() as cursor:
        cursor.execute(question)
        answer = list(cursor.fetchall())
    if not connection.autocommit:
        connection.connection.rollback()  # the question has begun a transaction
    return answer
