"""The portal: the API and the pages. It is only a client of `farm`."""
