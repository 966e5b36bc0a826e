"""The daemon: the milter protocol, processes, reload."""
