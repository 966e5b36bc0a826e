"""One SMTP connection, free of libmilter: events in, actions out."""
