"""`python -m makemore`."""

from makemore.cli import main

main()
