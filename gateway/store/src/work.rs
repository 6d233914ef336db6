//! The work that callers do with a connection, as an async closure `async |input, connection| { … }`.
//!
//! A closure takes everything from its input and captures nothing: the input is lent to it, so that it can be
//! retried after a deadlock without copying anything, and can run on another thread.

use tollgate_core::error::StoreError;

use crate::failure::Abort;
use crate::session::Session;
use crate::transaction::Transaction;

/// The work of [`Store::read`]: `async |input, session| { … }`. Implemented for every such closure that
/// captures nothing.
///
/// [`Store::read`]: crate::Store::read
pub trait ReadWork<I, T>:
    AsyncFn(&I, &mut dyn Session) -> Result<T, StoreError>
    + for<'s> Work<'s, I, dyn Session + 's, Result<T, StoreError>>
    + Send
    + 'static
{
}

impl<I, T, F> ReadWork<I, T> for F where
    F: AsyncFn(&I, &mut dyn Session) -> Result<T, StoreError>
        + for<'s> Work<'s, I, dyn Session + 's, Result<T, StoreError>>
        + Send
        + 'static
{
}

/// The work of [`Store::transaction`]: `async |input, tx| { … }`. Implemented for every such closure that
/// captures nothing.
///
/// [`Store::transaction`]: crate::Store::transaction
pub trait WriteWork<I, T, E>:
    AsyncFn(&I, &mut Transaction<'_>) -> Result<T, Abort<E>>
    + for<'s> Work<'s, I, Transaction<'s>, Result<T, Abort<E>>>
    + Send
    + Sync
    + 'static
{
}

impl<I, T, E, F> WriteWork<I, T, E> for F where
    F: AsyncFn(&I, &mut Transaction<'_>) -> Result<T, Abort<E>>
        + for<'s> Work<'s, I, Transaction<'s>, Result<T, Abort<E>>>
        + Send
        + Sync
        + 'static
{
}

/// What [`AsyncFn`] cannot express: that the future is `Send`.
pub trait Work<'s, I: 's, C: ?Sized + 's, R> {
    /// Its result.
    type Future: Future<Output = R> + Send + 's;

    /// Runs it.
    fn run(&self, input: &'s I, connection: &'s mut C) -> Self::Future;
}

impl<'s, I, C, R, F, W> Work<'s, I, C, R> for W
where
    I: 's,
    C: ?Sized + 's,
    W: Fn(&'s I, &'s mut C) -> F,
    F: Future<Output = R> + Send + 's,
{
    type Future = F;

    fn run(&self, input: &'s I, connection: &'s mut C) -> F {
        self(input, connection)
    }
}
