"""Every HTML page and picture the jobs write: plain tables in, PNG bytes and self-contained HTML out."""
