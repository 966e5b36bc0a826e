"""Keys from a program or a database: asking for them, checking them, and keeping what was said last."""
