"""What every verb shares: reading arguments, printing what came out, ending with the right exit code."""
