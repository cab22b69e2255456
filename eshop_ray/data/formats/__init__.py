"""Files of rows, however they are written: what is good is read, and a broken record costs itself.

`reader.read_rows` is the way in; the other modules know one way of writing each.
"""
