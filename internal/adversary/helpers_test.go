package adversary

// arr is an array as the grammar of RFC 8990 writes it.
type arr = []any

// hostileWaits is the Config.MaxWaits of those that are attacked.
const hostileWaits = 100
