"""DMARC aggregate reports (RFC 9990): those that we owe to others, made of the history, and those that others send."""
