"""Decides which sites count as blocked: from attempts to signals to beliefs. Pure: time and network are arguments."""
