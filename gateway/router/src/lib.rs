//! Which route a request matches, and what path its upstream sees.
