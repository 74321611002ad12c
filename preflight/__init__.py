"""Everything that is judged before anything starts; each problem is one line."""
