"""`python -m beatward` is `beatward`."""

from beatward.cli import main

main()
