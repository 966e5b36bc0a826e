"""What is wrong with this machine, its configuration, or its mail server. Nothing is changed."""
