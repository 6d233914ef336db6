//! The tokens in use.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use rand::RngExt as _;

/// Tokens that are in use at the same time.
const IN_USE: usize = 500;

/// A token that was issued. It has no `Debug`.
pub(crate) struct Token {
    pub access_token: String,
    pub refresh_token: String,
    /// The user in whose name it was issued: each token has its own.
    pub user: String,
    /// It is being revoked or refreshed: from now on requests with it may be refused.
    pub ending: Cell<bool>,
}

/// Tokens in use, oldest first.
#[derive(Default)]
pub(crate) struct Tokens {
    tokens: RefCell<VecDeque<Rc<Token>>>,
}

impl Tokens {
    /// Adds one, and takes the oldest out of use if there are too many.
    pub(crate) fn add(&self, token: Token) -> Option<Rc<Token>> {
        let mut tokens = self.tokens.borrow_mut();
        tokens.push_back(Rc::new(token));
        let oldest = if tokens.len() > IN_USE { tokens.pop_front() } else { None };
        oldest.inspect(|token| token.ending.set(true))
    }

    /// One of them.
    pub(crate) fn any(&self) -> Option<Rc<Token>> {
        let tokens = self.tokens.borrow();
        let place = if tokens.is_empty() { return None } else { rand::rng().random_range(0..tokens.len()) };
        tokens.get(place).cloned()
    }
}
