"""Whose page an answer is: the site's, a block page, a login page."""
