"""The verdict of a measurement: a status of the site, with its cause."""
