"""The kinds of figures: one module a kind, discovered from the files here.

A module holds
    PART            the part of an experiment's table that it draws: "means", "series" or "curves" (tabulate.py)
    TITLE, TEXT     how its caption begins: its name, and what it shows
    AXES            the table's columns that it shows as axis, panels or rows; whatever else varies tells systems apart
    METRICS         the figures by which systems are compared in the caption: the first that every row has; none: ()
    select(table)   the rows that it shows, if not all; optional
    draw(table)     the table's rows -> a matplotlib Figure, in the style of crayfish/plots.py. CrayfishError where the
                    table holds nothing that it could show
"""
