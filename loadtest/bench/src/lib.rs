//! Benches of Tollgate's hot path.
