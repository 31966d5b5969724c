"""One script per claim; `make bench` runs them all, `make bench ARGS=import_time` one of them."""
