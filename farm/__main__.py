"""`python -m farm`: the command `farm`."""

from farm.cli.main import main

main()
