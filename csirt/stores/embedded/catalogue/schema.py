"""The catalogue's tables, as migrations: each runs once, in one transaction, in order.

Documents are JSON text (keys sorted) with the columns that are searched beside them; unsigned 64-bit ordinals are
stored less 2^63, which keeps their order in SQLite's signed integers.
"""

from __future__ import annotations

import apsw

from csirt.errors import Conflict

APPLICATION_ID = 0x63736972  # "csir"

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- A part is some rows of one dataset: a Parquet file (path), or an Arrow IPC stream kept here until it is gathered.
CREATE TABLE part (
  id INTEGER PRIMARY KEY AUTOINCREMENT, dataset TEXT NOT NULL, received INTEGER NOT NULL, path TEXT UNIQUE,
  rows INTEGER NOT NULL, bytes INTEGER NOT NULL, least INTEGER, greatest INTEGER, checksum TEXT NOT NULL,
  tier INTEGER NOT NULL);
CREATE INDEX part_by_dataset ON part (dataset, received);
CREATE TABLE part_data (part INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE part_segment (
  segment TEXT NOT NULL, part INTEGER NOT NULL, least INTEGER NOT NULL, greatest INTEGER NOT NULL,
  rows INTEGER NOT NULL, PRIMARY KEY (segment, part)) WITHOUT ROWID;
CREATE INDEX part_segment_by_part ON part_segment (part);

CREATE TABLE position (
  source TEXT NOT NULL, fingerprint TEXT NOT NULL, offset INTEGER NOT NULL, done INTEGER NOT NULL,
  extra TEXT NOT NULL, updated INTEGER NOT NULL, UNIQUE (source, fingerprint));
CREATE INDEX position_by_fingerprint ON position (fingerprint);
CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE hits (
  id INTEGER PRIMARY KEY AUTOINCREMENT, least INTEGER NOT NULL, greatest INTEGER NOT NULL, rows INTEGER NOT NULL,
  data BLOB NOT NULL);
CREATE TABLE number (kind TEXT NOT NULL, year INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (kind, year))
  WITHOUT ROWID;

CREATE TABLE alerts (
  id TEXT NOT NULL UNIQUE, rule_id TEXT, severity TEXT, urgency INTEGER, dataset TEXT, first INTEGER, last INTEGER,
  incident TEXT, created INTEGER, doc TEXT NOT NULL);
CREATE INDEX alerts_by_rule ON alerts (rule_id, last);
CREATE INDEX alerts_by_time ON alerts (last, id);
CREATE INDEX alerts_by_incident ON alerts (incident);

CREATE TABLE incidents (
  id TEXT NOT NULL UNIQUE, severity TEXT, urgency INTEGER, first INTEGER, last INTEGER, "case" TEXT, merged_into TEXT,
  created INTEGER, updated INTEGER, doc TEXT NOT NULL);
CREATE INDEX incidents_by_time ON incidents (last, id);
CREATE INDEX incidents_by_case ON incidents ("case");
CREATE TABLE incident_entity (
  kind TEXT NOT NULL, value TEXT NOT NULL, incident TEXT NOT NULL, PRIMARY KEY (kind, value, incident)) WITHOUT ROWID;
CREATE INDEX incident_entity_by_incident ON incident_entity (incident);
CREATE TABLE incident_alias (alias TEXT PRIMARY KEY, incident TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE cases (
  id TEXT NOT NULL UNIQUE, number TEXT UNIQUE, version INTEGER, state TEXT, severity TEXT, urgency INTEGER, owner TEXT,
  first INTEGER, last INTEGER, created INTEGER, updated INTEGER, doc TEXT NOT NULL);
CREATE INDEX cases_by_urgency ON cases (state, urgency DESC, last DESC, id);
CREATE INDEX cases_by_owner ON cases (owner, state);
CREATE INDEX cases_by_updated ON cases (updated);
CREATE TABLE case_event (
  "case" TEXT NOT NULL, seq INTEGER NOT NULL, doc TEXT NOT NULL, PRIMARY KEY ("case", seq)) WITHOUT ROWID;

CREATE TABLE runs (
  id TEXT NOT NULL UNIQUE, number TEXT UNIQUE, state TEXT, "case" TEXT, incident TEXT, playbook TEXT, created INTEGER,
  updated INTEGER, doc TEXT NOT NULL);
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_case ON runs ("case");
CREATE TABLE receipts (id TEXT NOT NULL UNIQUE, run TEXT, step TEXT, outcome TEXT, started INTEGER, doc TEXT NOT NULL);
CREATE INDEX receipts_by_run ON receipts (run);
CREATE TABLE notifications (
  id TEXT NOT NULL UNIQUE, state TEXT, "case" TEXT, route TEXT, priority TEXT, level INTEGER, due INTEGER,
  created INTEGER, updated INTEGER, doc TEXT NOT NULL);
CREATE INDEX notifications_by_due ON notifications (state, due);
CREATE INDEX notifications_by_case ON notifications ("case");

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, category TEXT NOT NULL, action TEXT NOT NULL,
  subject TEXT NOT NULL, hash TEXT NOT NULL, doc TEXT NOT NULL);
CREATE TABLE audit_seal (seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, time INTEGER NOT NULL);
CREATE TABLE deletion_report (id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, doc TEXT NOT NULL);
"""

_SECOND = """
-- A part whose rows wait to be settled: when they are due, how many still wait, and up to when they were settled: those
-- rows are in other parts since then.
CREATE TABLE fresh (
  part INTEGER PRIMARY KEY, least INTEGER NOT NULL, greatest INTEGER NOT NULL, settled INTEGER,
  waiting INTEGER NOT NULL);
"""

_THIRD = """
-- An incident's document says which entities it is found by. (An older csirt would not send what a cluster lacks of the
-- documents that are noted in parcels, so it must not open the file.)
DROP INDEX incident_entity_by_incident;
"""

# (name, script); the schema version is the number of those that have run.
MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("first tables", _FIRST),
    ("rows that wait to be settled", _SECOND),
    ("incidents' entities without an index of their own", _THIRD),
)


def version(connection: apsw.Connection) -> int:
    """How many migrations the file has seen."""
    return int(connection.pragma("user_version"))


def migrate(connection: apsw.Connection, now: int, migrations: tuple[tuple[str, str], ...] = MIGRATIONS) -> int:
    """Bring a catalogue to the newest schema, each step in one transaction; returns how many steps ran.

    Raises Conflict when the file was written by a newer csirt, or is not a csirt catalogue.
    """
    have = check(connection, migrations)
    for number, (name, script) in enumerate(migrations[have:], have + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(script)
            if number == 1:
                connection.execute(
                    "CREATE TABLE migration (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied INTEGER NOT NULL)"
                )
                connection.pragma("application_id", APPLICATION_ID)
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, name, now))
            connection.pragma("user_version", number)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return len(migrations) - have


def check_newest(connection: apsw.Connection) -> None:
    """Raises Conflict unless the file has exactly the schema that this csirt reads."""
    if check(connection) < len(MIGRATIONS):
        raise Conflict(
            "the store was written by an older csirt and is only being read: `csirt store info --store DIR`, which may "
            "write, brings it up to date"
        )


def check(connection: apsw.Connection, migrations: tuple[tuple[str, str], ...] = MIGRATIONS) -> int:
    """The schema version. Raises Conflict for a newer one, or a file that is not ours."""
    have = version(connection)
    ours = int(connection.pragma("application_id"))
    if have and ours != APPLICATION_ID:
        raise Conflict("catalogue.sqlite is not a csirt catalogue; name the store's folder")
    if have > len(migrations):
        raise Conflict(
            f"the store has schema version {have}, this csirt knows {len(migrations)}: it was written by a newer "
            "csirt. Install that version again, or restore a backup made before the upgrade"
        )
    return have
