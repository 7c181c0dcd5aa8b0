"""The version of the JSON documents that commands print and the API answers with.

It has its own module, so that a command that makes a document itself need not load the API.
"""

VERSION = 2
"""It grows only when an existing field changes its meaning. 2: a site's status is one of `detect.verdict.site_status`,
`last_result` stands beside the stored status, and a relay has a `fault`."""
