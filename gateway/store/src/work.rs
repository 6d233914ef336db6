//! What is done with a connection, as callers write it down.

/// Something done with a connection `C`: an async closure `async |input, connection| { … }`.
///
/// What it needs it takes from the input, not from around it: the input is lent to it, so that it can
/// begin again after a deadlock without a copy of anything, and so that it may run on another thread.
/// Implemented by every such closure; the bound [`AsyncFn`], which says the same, cannot say that its
/// future is `Send`.
pub trait Work<'s, I: 's, C: ?Sized + 's, R> {
    /// Its result.
    type Future: Future<Output = R> + Send + 's;

    /// Does it.
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
