"""What became of each message: kept in a store, and asked for by queue id, domain, client or time."""
