//! The Step On tutorial: an API, its authorization page and a store that uses it, in front of a real gateway.
