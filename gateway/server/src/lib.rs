//! Tollgate: an OAuth2 edge gateway on Pingora.
