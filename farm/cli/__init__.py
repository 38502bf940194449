"""The command `farm`: the one place that prints."""
