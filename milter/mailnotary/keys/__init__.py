"""The life of a signing key: its record, what DNS serves, when it signs, how it is made and rotated."""
