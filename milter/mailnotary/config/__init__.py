"""The admin's two files: read, checked, and held as plain values."""
