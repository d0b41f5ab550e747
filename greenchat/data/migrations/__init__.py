"""Changes of the tables, numbered: how a database of an older version becomes one of this version.

``schema_version`` in ``Setting`` is the version that a server must know to use the database.  A migration of
version N takes an older database there in three stages, and none of them stops the servers:

========  =================  ========================================================================
stage     when               what happens
========  =================  ========================================================================
expand    a server of N      New tables and columns are added.  Servers of N - 1 do not see them and go
          starts             on, or start anew.  Servers of N write the new form and the old one, and
                             read both.
move      after that, in     Rows in the old form get the new one, a few at a time.  The position is
          the background     kept in the database, so that a restart goes on from there.
contract  ``upgrade_grace``  The version becomes N.  From now on servers of N - 1 are refused, and what
          later              they could not read may be stored.
========  =================  ========================================================================

A server of N - 1 that runs meanwhile leaves rows in the old form behind the position.  So the move runs in
*passes*, and a contract needs a whole one that began after the last such server.  When that was is kept as
``State.since``: each server of N sets it as it starts (any server may have used the database before), and
whenever the lease shows that one of N - 1 is alive (``data.lease``).

``expand`` MUST do nothing where it was done before: a kill may have cut it short, since DDL is no transaction
on MySQL.  ``move`` MUST do no harm where it was done before.
"""

from __future__ import annotations

from greenchat.data.migrations import m0002_hooks, m0003_recalled
from greenchat.data.migrations.migration import Migration

MIGRATIONS: tuple[Migration, ...] = (m0002_hooks.MIGRATION, m0003_recalled.MIGRATION)
"""All migrations, in order; the number of the last one is ``schema.VERSION``."""


def after(version: int) -> list[Migration]:
    """Return the migrations that a database of a version needs, in order."""
    return [migration for migration in MIGRATIONS if migration.number > version]
