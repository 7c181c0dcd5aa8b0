"""What every route to a site shows, measured on purpose and told step by step.

For `byway why`, which asks thoroughly about one site, and `byway test`, which asks briefly about many. Nothing is sent
that the user's own rules, or a suspicion once held, forbid; what the steps mean is the business of `detect.verdict`.
"""
