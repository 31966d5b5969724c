"""`python -m accorda` is `accorda`."""

import sys

from accorda.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
