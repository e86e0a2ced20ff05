//! The store in PostgreSQL, before a real server.

mod it_keeps_the_contract;
