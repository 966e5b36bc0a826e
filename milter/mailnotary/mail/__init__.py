"""Messages and addresses as octets: header fields, From, comments and folding white space."""
