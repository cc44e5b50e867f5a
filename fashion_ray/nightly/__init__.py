"""The night: a feed taken in, what changed scored, gates, publishing, pages, and a word to the pager."""
