"""A thin skin: parse, call one function, print."""
