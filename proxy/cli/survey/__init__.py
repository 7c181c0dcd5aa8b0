"""`byway test`: many sites."""
