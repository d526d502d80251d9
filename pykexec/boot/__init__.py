"""Boot protocols: from facts, a request and a parsed image to a plan. Pure."""
