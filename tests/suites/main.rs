//! All end-to-end suites: one binary, one link.
