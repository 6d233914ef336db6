//! Where Tollgate keeps its state: PostgreSQL and SQLite behind one port.
