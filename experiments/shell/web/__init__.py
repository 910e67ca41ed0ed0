"""The page: a web application over run folders and a queue of studies. Knows no science."""
