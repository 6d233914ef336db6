//! End-to-end tests: the real gateway, real stores, real sockets, foreign clients.
