"""Measures a site over every route, and reports step by step.

`byway why` measures one site thoroughly, `byway test` many sites briefly. Nothing is sent that the user's rules, or the
belief about a suspect name, forbid. `detect.verdict` decides what the steps mean.
"""
