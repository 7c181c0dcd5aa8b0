"""A folder for PYTHONPATH: the Python that starts with it runs `sitecustomize` before anything else."""
