"""`byway rule`: the commands about rules."""
