"""How objects and figures look: one style, HTML for notebooks, charts of plain numbers. Knows nothing of ranking."""
