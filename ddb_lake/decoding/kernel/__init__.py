"""The compiled part of decoding: numba functions over bytes that know nothing of frames, files or schemas.

`lines.shred` takes a block of lines apart into cells; `columns` puts the cells of one column in place. A line that is
unusual in any way is not judged here but handed back, for the exact reader to normalise or to refuse.
"""
