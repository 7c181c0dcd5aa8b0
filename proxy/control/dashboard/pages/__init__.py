"""The pages of the dashboard, one module each: what is shown, and what answers its requests."""
