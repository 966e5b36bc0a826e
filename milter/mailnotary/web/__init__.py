"""The page: what the history, the keys and the comparisons tell, in a browser. It reads, and changes nothing."""
