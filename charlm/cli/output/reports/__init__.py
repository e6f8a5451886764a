"""What commands report of many texts: labels, tags, copies, which model is better."""
