"""The page for a person with a browser: one document, no build step, no request to anywhere else."""
