"""Classifies pages: the site's own, a block page, or a redirect."""
