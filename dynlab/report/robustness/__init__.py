"""What the page says and shows of critical shocks and of escapes by noise."""
