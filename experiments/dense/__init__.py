"""What a query encoder's depth buys in dense retrieval, beside what it is compared to."""
