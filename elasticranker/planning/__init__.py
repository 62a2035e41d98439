"""Who is scored by what: budgets, prices, plans and the ladder. Pure Python and numpy, no model in sight."""
