"""How our records get into DNS: dynamic updates (RFC 2136) or a program."""
