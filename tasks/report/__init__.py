"""The report of a run as one page of HTML: no file beside it, no request to anywhere."""
