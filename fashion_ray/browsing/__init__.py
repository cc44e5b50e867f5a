"""The catalog page: a published snapshot of scores, to look through in a browser, in one file or over HTTP."""
