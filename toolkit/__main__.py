"""`python -m toolkit` is `pocketcl`."""

from toolkit.cli import main

main()
