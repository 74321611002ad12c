"""A run: its plan, its manifest, its start, its table, its replay."""
