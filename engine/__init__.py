"""The life of one engine and its processes."""
