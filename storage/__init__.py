"""One SQLite file: schema, migrations and every SQL statement."""
