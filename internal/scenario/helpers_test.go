package scenario

// arr is an array as the grammar of RFC 8990 writes it.
type arr = []any
