//! Spans: where a traced request waits for somebody else.
//!
//! A task that serves a traced request carries a [`Record`]; [`measured`] adds to it. Without one, which is the rule,
//! `measured` only looks for it. Spans say what was waited for and how it ended, never with which secret: attributes
//! are names of hosts, numbers and words of the program.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use pin_project_lite::pin_project;

/// No request needs more; further spans are not recorded.
const MOST: usize = 128;

tokio::task_local! {
    static CURRENT: Current;
}

#[derive(Clone)]
struct Current {
    record: Arc<Record>,
    parent: Option<usize>,
}

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work of this process.
    Internal,
    /// A call of another one.
    Client,
}

/// A value of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u16> for Attribute {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name: one of few.
    pub name: &'static str,
    /// What it stands for.
    pub kind: Kind,
    /// The position in the record of the span that it is part of.
    pub parent: Option<usize>,
    /// When it began.
    pub began: Instant,
    /// When it ended; `None`: it was given up.
    pub ended: Option<Instant>,
    /// What is known of it: names of the semantic conventions.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed.
    pub error: Option<Cow<'static, str>>,
}

/// What is known once a span has ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// As [`Span::attributes`].
    pub attributes: Vec<(&'static str, Attribute)>,
    /// As [`Span::error`].
    pub error: Option<Cow<'static, str>>,
}

/// The spans of one request.
#[derive(Debug, Default)]
pub struct Record(Mutex<Vec<Span>>);

impl Record {
    /// Does what belongs to the request: [`measured`] adds to this record.
    pub async fn scope<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        CURRENT.scope(Current { record: self, parent: None }, work).await
    }

    /// The spans so far, in the order in which they began.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, name: &'static str, kind: Kind, parent: Option<usize>) -> Option<usize> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let position = spans.len();
        let began = Instant::now();
        let span = Span { name, kind, parent, began, ended: None, attributes: Vec::new(), error: None };
        (position < MOST).then(|| spans.push(span)).map(|()| position)
    }

    fn end(&self, position: usize, ended: Ended) {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = spans.get_mut(position) {
            span.ended = Some(Instant::now());
            (span.attributes, span.error) = (ended.attributes, ended.error);
        }
    }
}

/// Does `work`, as a span of the request that waits for it, if that is traced; `describe` is asked only then.
pub fn measured<W, D>(name: &'static str, kind: Kind, work: W, describe: D) -> Measured<W, D>
where
    W: Future,
    D: FnOnce(&W::Output) -> Ended,
{
    Measured { work, name, kind, describe: Some(describe), span: Open::NotYet }
}

pin_project! {
    /// See [`measured`]. Not an `async fn`, in which the work would be moved twice: a call of another server takes
    /// kilobytes.
    pub struct Measured<W, D> {
        #[pin]
        work: W,
        name: &'static str,
        kind: Kind,
        describe: Option<D>,
        span: Open,
    }
}

/// The span of work.
enum Open {
    /// It has not begun.
    NotYet,
    /// The request is not traced, or has too many spans.
    Untraced,
    /// It is this one; what is within it has it as the parent.
    Traced { within: Current, position: usize },
}

impl Open {
    fn begin(name: &'static str, kind: Kind) -> Self {
        let Ok(current) = CURRENT.try_with(Clone::clone) else { return Self::Untraced };
        let Some(position) = current.record.begin(name, kind, current.parent) else { return Self::Untraced };
        Self::Traced { within: Current { parent: Some(position), ..current }, position }
    }
}

impl<W: Future, D: FnOnce(&W::Output) -> Ended> Future for Measured<W, D> {
    type Output = W::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        let this = self.project();
        if let Open::NotYet = this.span {
            *this.span = Open::begin(this.name, *this.kind);
        }
        let Open::Traced { within, position } = this.span else { return this.work.poll(cx) };
        let done = ready!(CURRENT.sync_scope(within.clone(), || this.work.poll(cx)));
        if let Some(describe) = this.describe.take() {
            within.record.end(*position, describe(&done));
        }
        Poll::Ready(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(_: &u8) -> Ended {
        Ended { attributes: vec![("server.port", Attribute::from(80_u16))], error: Some("timeout".into()) }
    }

    #[tokio::test]
    async fn spans_are_recorded_below_each_other_for_a_traced_request_alone() {
        let work = || async {
            let inner = measured("inner", Kind::Client, async { 7 }, failed);
            measured("outer", Kind::Internal, inner, |_| Ended::default()).await
        };
        assert_eq!(work().await, 7);
        let record = Arc::new(Record::default());
        assert_eq!(Arc::clone(&record).scope(work()).await, 7);
        let spans = record.take();
        let seen: Vec<_> =
            spans.iter().map(|span| (span.name, span.kind, span.parent, span.error.as_deref())).collect();
        assert_eq!(seen, [("outer", Kind::Internal, None, None), ("inner", Kind::Client, Some(0), Some("timeout"))]);
        assert!(spans.iter().all(|span| span.ended.is_some_and(|ended| ended >= span.began)));
        assert_eq!(spans[1].attributes, [("server.port", Attribute::Number(80))]);
    }

    #[tokio::test]
    async fn a_request_has_a_bounded_number_of_spans() {
        let record = Arc::new(Record::default());
        let work = async {
            for _ in 0..MOST + 5 {
                measured("one", Kind::Internal, async {}, |()| Ended::default()).await;
            }
        };
        Arc::clone(&record).scope(work).await;
        assert_eq!(record.take().len(), MOST);
    }
}
