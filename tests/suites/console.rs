//! The console at `/ui`: its files, and a real browser in which it is used with the keyboard.
//!
//! On SQLite alone: the page knows the Admin API and nothing of the store.

mod accessible;
mod files;
mod forms;
mod pages;
mod pictures;
mod roles;
