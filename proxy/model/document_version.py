"""The version of the JSON documents that commands print and the API answers with.

In a module of its own, so that commands that make a document themselves need not load what the API is made of.
"""

VERSION = 2
"""It grows only when what was there changes its meaning. 2: the words for a site are those of `detect.site_status`,
with `last_result` beside what is stored, and a relay has a `fault`."""
